"""Fetching COCO 2017, and checking a folder that holds it."""

import http.client
import os
import shutil
import zipfile
import zlib
from pathlib import Path

from torch.hub import download_url_to_file
from torchvision.datasets.utils import extract_archive

from yolact.data.dataset import CocoDataset
from yolact.errors import DownloadError
from yolact.tools.weights import require_same

# Not https: the certificate there is that of the storage service. The checksums make up for it.
URL = "http://images.cocodataset.org"
# COCO publishes no checksums; these are the ones that torchvision's prototype data sets and many others found.
SHA256 = {
    "annotations/annotations_trainval2017.zip": "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    "zips/train2017.zip": "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    "zips/val2017.zip": "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
}
GIGABYTES = dict(zip(SHA256, (1.1, 39.0, 1.7), strict=True))  # an archive and its files side by side
COUNTS = {"train2017": 118_287, "val2017": 5_000}  # images


def annotation_file(folder: Path, split: str) -> Path:
    """Return where the configurations expect the annotations of a split."""
    return folder / "annotations" / f"instances_{split}.json"


def prepare(folder: Path, splits: list[str], url: str = URL, *, keep_archives: bool = False) -> bool:
    """Fetch and unpack what is missing in a folder, and return whether something was; what is there is left as it is.

    Raises:
        DownloadError: there is no room, or something cannot be fetched or unpacked.
    """
    files = [annotation_file(folder, split) for split in splits]
    wanted = {"annotations/annotations_trainval2017.zip": [path for path in files if not path.exists()]}
    wanted |= {f"zips/{split}.zip": [folder / split] for split in splits if not (folder / split).exists()}
    wanted = {archive: targets for archive, targets in wanted.items() if targets}
    above = next(path for path in folder.absolute().parents if path.exists())
    needed, free = sum(GIGABYTES[archive] for archive in wanted), shutil.disk_usage(above).free / 1e9
    if needed > free:
        raise DownloadError(
            f"Fetching COCO 2017 into '{folder}' needs {needed:.1f} GB, but only {free:.1f} GB are free; make room, or "
            "choose another --folder or fewer --splits."
        )
    for name, targets in wanted.items():
        archive = folder / Path(name).name
        _fetch(f"{url.rstrip('/')}/{name}", archive, SHA256[name])
        _unpack(archive, folder, targets)
        if not keep_archives:
            archive.unlink()
    return bool(wanted)


def _fetch(url: str, archive: Path, sha256: str) -> None:
    if archive.exists():
        return require_same(archive, sha256)
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(url, str(archive), hash_prefix=sha256)
    except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
        raise DownloadError(
            f"{url} could not be fetched ({error}); run this again, or fetch it by `curl -C - -o '{archive}' '{url}'`, "
            "which goes on where it broke off, and then run this."
        ) from error


def _unpack(archive: Path, folder: Path, targets: list[Path]) -> None:
    """Unpack a zip archive, of which no name can leave the folder, and move the targets into it when all is there."""
    temporary = folder / ".unpacking"
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed process left
    try:
        extract_archive(archive, temporary)
        for target in targets:
            target.parent.mkdir(exist_ok=True)
            os.rename(temporary / target.relative_to(folder), target)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise DownloadError(
            f"'{archive}' could not be unpacked ({error}); make room, or remove it, and run this again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check(folder: Path, split: str) -> str:
    """Read the annotations of a split as training does, see that all images are there, and say what is there.

    Raises:
        DatasetError: something is missing or wrong.
    """
    dataset = CocoDataset(annotation_file(folder, split), folder / split)
    objects = sum(len(dataset.objects(index)) for index in range(len(dataset)))
    words = f"{split}: {len(dataset)} images, {objects} objects of {len(dataset.categories)} classes"
    return words + f"; all of COCO's {split} are {COUNTS[split]} images" * (len(dataset) != COUNTS[split])
