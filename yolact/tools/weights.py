"""Fetching the authors' published weights from their repositories on the Hugging Face Hub."""

import hashlib
import logging
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from yolact.compat.published import AUTHORS_FILES, MODELS
from yolact.errors import DownloadError, UserError
from yolact.text import did_you_mean, printable

logger = logging.getLogger(__name__)

UNPUBLISHED = {
    "yolact_im400": "the authors published no weights for it",
    "yolact_resnet50_pascal": "its weights are only behind a link in the authors' README, github.com/dbolya/yolact",
}


class Published(NamedTuple):
    """One published file."""

    title: str
    file_name: str
    repository: str


FILES = {
    name: Published(model.title, f"{name}_54_800000.pth", f"dbolya/{name.replace('_', '-')}")
    for name, model in MODELS.items()
    if name not in UNPUBLISHED
} | {
    name: Published("ImageNet weights of the backbone", file_name, "dbolya/yolact-initial-weights")
    for name, file_name in AUTHORS_FILES.items()
}


def require_known(name: str) -> Published:
    """Return what is published under a name.

    Raises:
        UserError: there is nothing; it gives the reason, or the closest name that there is.
    """
    if name in UNPUBLISHED:
        raise UserError(f"{name} cannot be downloaded: {UNPUBLISHED[name]}; train it, or take another model.")
    if name not in FILES:
        raise UserError(f"There are no published weights '{printable(name)}'{did_you_mean(name, FILES)}")
    return FILES[name]


def fetch_weights(name: str, folder: str | Path) -> Path:
    """Download published weights into `folder`, under their published name, and return the file.

    A file that is there is checked and never overwritten; without a network it is taken as it is, which the log says.
    The environment variable HF_ENDPOINT names a mirror of https://huggingface.co.

    Args:
        name: a key of `FILES`, such as "yolact_base".
        folder: made with its parents.

    Raises:
        DownloadError: the file cannot be fetched whole, or another one is there.
        UserError: there are no such weights, or huggingface_hub is missing.
    """
    _, file_name, repository = require_known(name)
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    except ImportError:
        raise UserError("Weights are fetched by huggingface_hub: run `pip install huggingface_hub` first.") from None
    endpoint = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or None
    path, temporary = Path(folder, file_name), Path(folder, f".{file_name}.part")
    try:
        # No token: what is public needs none, and a mirror should not see it.
        sha256 = get_hf_file_metadata(hf_hub_url(repository, file_name, endpoint=endpoint), token=False).etag or ""
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError("the repository does not say its SHA-256")
        if path.exists():
            require_same(path, sha256)
        else:
            fetched = Path(hf_hub_download(repository, file_name, local_dir=temporary, endpoint=endpoint, token=False))
            require_same(fetched, sha256)
            fetched.rename(path)
    except DownloadError:
        raise
    except Exception as error:  # of the library, its HTTP client or a malformed answer: not one family
        why = printable(" ".join(str(error).split()) or type(error).__name__)
        if not path.is_file():
            raise DownloadError(
                f"{file_name} could not be fetched ({why}); check the network and HF_ENDPOINT and run this again, or "
                f"bring the file from https://huggingface.co/{repository} to '{path}' by hand."
            ) from error
        logger.warning("%s is there already and was not checked: %s", path, why)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def sha256_of(*files: Path) -> str:
    """Return the SHA-256 of what files hold, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def require_same(path: Path, sha256: str) -> None:
    """Require that a file has this SHA-256.

    Raises:
        DownloadError: it is another file, or cannot be read.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise DownloadError(f"'{path}' is there but cannot be read ({error.strerror}); remove it.") from error
    if found != sha256:
        raise DownloadError(
            f"'{path}' is not the file that was published ({path.stat().st_size} bytes with SHA-256 "
            f"{found} instead of {sha256}); remove it and run this again."
        )
