"""Fetching the authors' published weights from their repositories on Hugging Face."""

import difflib
import logging
import os
import re
import urllib.parse
from pathlib import Path
from typing import Any, NamedTuple

from yolact.compat.published import BACKBONE_FILES, BACKBONES_REPOSITORY, MODELS
from yolact.download import fetch, fetch_json
from yolact.errors import DownloadError

logger = logging.getLogger(__name__)

PUBLIC_ENDPOINT = "https://huggingface.co"
UNPUBLISHED = {
    "yolact_im400": "the authors published no weights for it",
    "yolact_resnet50_pascal": "its weights are only behind a link in the authors' README, github.com/dbolya/yolact",
}


class RemoteFile(NamedTuple):
    """A file of a repository; `size` in bytes, `sha256` in hex digits where the repository knows it."""

    url: str
    size: int
    sha256: str | None


def fetch_published(name: str, folder: str | Path) -> Path:
    """Download the weights of a published model into `folder`, under their published name, and return the file.

    A file that is there already is checked; without a network it is taken as it is, which the log says.

    Args:
        name: such as "yolact_base".

    Raises:
        DownloadError: there are no such weights, or they cannot be fetched whole.
    """
    if name in UNPUBLISHED:
        raise DownloadError(f"{name} cannot be downloaded: {UNPUBLISHED[name]}; train it, or take another model.")
    model = MODELS.get(name)
    if model is None or model.repository is None or model.file_name is None:
        known = sorted(MODELS.keys() - UNPUBLISHED.keys())
        near = difflib.get_close_matches(name, known, 1) or known
        raise DownloadError(f"'{name}' is none of the published models; did you mean '{near[0]}'?")
    return _fetch(model.repository, model.file_name, Path(folder), only_one=True)


def fetch_backbone(file_name: str, folder: str | Path) -> Path:
    """Download ImageNet weights that the published models started from, such as "darknet53.pth"; see `fetch_published`.

    Raises:
        DownloadError: there is no such file, or it cannot be fetched whole.
    """
    if file_name not in BACKBONE_FILES:
        raise DownloadError(f"'{file_name}' is none of the backbones' files ({', '.join(BACKBONE_FILES)}); take one.")
    return _fetch(BACKBONES_REPOSITORY, file_name, Path(folder), only_one=False)


def repository_files(repository: str) -> dict[str, RemoteFile]:
    """Return the files of a model repository by name.

    The server is https://huggingface.co or the mirror that the environment variable HF_ENDPOINT names.

    Raises:
        DownloadError: the list cannot be fetched or is not as the Hub gives it.
    """
    base, place = _endpoint(), urllib.parse.quote(repository)
    address = f"{base}/api/models/{place}/tree/main"
    entries = fetch_json(address)
    try:
        if not isinstance(entries, list):
            raise ValueError("no list")
        files = [_entry(entry) for entry in entries if _field(entry, "type", str) == "file"]
    except ValueError as error:
        raise DownloadError(
            f"{address} is not a list of files as the Hub gives it ({error}); check HF_ENDPOINT, or get the weights by "
            "hand."
        ) from error
    return {
        name: RemoteFile(f"{base}/{place}/resolve/main/{urllib.parse.quote(name)}", size, sha256)
        for name, size, sha256 in files
    }


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT", "").strip() or PUBLIC_ENDPOINT).rstrip("/")


def _entry(entry: dict[str, Any]) -> tuple[str, int, str | None]:
    """Return name, size and SHA-256 of a file; large files (LFS) have the latter."""
    name, size = _field(entry, "path", str), _field(entry, "size", int)
    if not re.fullmatch(r"[^/\\:\x00-\x1f]+", name) or name in (".", "..") or size < 0:
        raise ValueError(f"a file {name!r} of {size} bytes")
    if entry.get("lfs") is None:
        return name, size, None
    sha256, large = _field(entry["lfs"], "oid", str), _field(entry["lfs"], "size", int)
    if not re.fullmatch(r"[0-9a-f]{64}", sha256) or large != size:
        raise ValueError(f"{name!r} with the hash {sha256!r} and the sizes {size} and {large}")
    return name, size, sha256


def _field(entry: Any, key: str, kind: type) -> Any:
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise ValueError(f"an entry whose '{key}' is {value!r:.60}")
    return value


def _fetch(repository: str, file_name: str, folder: Path, only_one: bool) -> Path:
    path = folder / file_name
    try:
        files = repository_files(repository)
    except DownloadError as error:
        if path.is_file():
            logger.warning("%s is there already and was not checked: %s", path, error)
            return path
        raise DownloadError(
            f"{str(error).rstrip('.')}, or bring the file from {PUBLIC_ENDPOINT}/{repository} to '{path}' by hand."
        ) from error
    remote = _pick(files, file_name, repository, only_one)
    return fetch(remote.url, path, size=remote.size, sha256=remote.sha256)


def _pick(files: dict[str, RemoteFile], file_name: str, repository: str, only_one: bool) -> RemoteFile:
    """Return the file of that name; with `only_one`, a lone .pth of another name will do."""
    if file_name in files:
        return files[file_name]
    weights = [name for name in files if name.endswith(".pth")]
    if only_one and len(weights) == 1:
        logger.info("%s holds no %s, taking its only weights, %s", repository, file_name, weights[0])
        return files[weights[0]]
    raise DownloadError(
        f"{_endpoint()}/{repository} holds no '{file_name}' (its weights: {', '.join(weights) or 'none'}); look there "
        "and fetch the right one by hand."
    )
