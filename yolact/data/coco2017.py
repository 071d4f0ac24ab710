"""Fetching COCO 2017, and checking a folder that holds it."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from yolact.data.annotations import read_outline
from yolact.data.archives import Limits, free_bytes, gigabytes, unpack
from yolact.data.dataset import CocoDataset
from yolact.download import fetch
from yolact.errors import DatasetError, DownloadError

logger = logging.getLogger(__name__)

# Not https: the certificate there is that of the storage service. The checksums make up for it.
URL = "http://images.cocodataset.org"


class Archive(NamedTuple):
    """A zip file of the release and what is taken from it."""

    path: str  # below the address
    size: int  # bytes
    sha256: str
    members: str  # regular expression of the names
    limits: Limits


class Release(NamedTuple):
    """All archives; `counts` are the pictures of each split."""

    annotations: Archive
    pictures: dict[str, Archive]
    counts: dict[str, int]


# COCO publishes no checksums; these are the ones that torchvision's prototype data sets and many others found.
COCO_2017 = Release(
    annotations=Archive(
        "annotations/annotations_trainval2017.zip",
        252_907_541,
        "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        r"annotations/instances_(train|val)2017\.json",  # of six files; the others are captions and keypoints
        Limits(member=500_000_000, total=550_000_000),
    ),
    # The JPEG files are not compressed further, so that they take as much room as their archive.
    pictures={
        "train2017": Archive(
            "zips/train2017.zip",
            19_336_861_798,
            "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            r"train2017/\d{12}\.jpg",
            Limits(member=20_000_000, total=19_700_000_000),
        ),
        "val2017": Archive(
            "zips/val2017.zip",
            815_585_330,
            "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            r"val2017/\d{12}\.jpg",
            Limits(member=20_000_000, total=840_000_000),
        ),
    },
    counts={"train2017": 118_287, "val2017": 5_000},
)


def annotation_file(folder: Path, split: str) -> Path:
    """Return where the configurations expect the annotations of a split."""
    return folder / "annotations" / f"instances_{split}.json"


def missing_archives(folder: Path, splits: Iterable[str], release: Release) -> list[Archive]:
    """Return what must be fetched, judging by whether the annotation files are there and the number of pictures."""
    missing = [
        release.pictures[split]
        for split in splits
        if sum(1 for _ in (folder / split).glob("*.jpg")) < release.counts[split]
    ]
    if not all(annotation_file(folder, split).is_file() for split in splits):
        missing.insert(0, release.annotations)
    return missing


def prepare(
    folder: Path,
    splits: Iterable[str],
    release: Release,
    url: str = URL,
    *,
    keep_archives: bool = False,
    progress: bool = True,
) -> bool:
    """Fetch and unpack what is missing in a folder; what an interrupted call left is used.

    Args:
        folder: gets `annotations` and a folder for each split.
        splits: some of the release.
        release: what there is to fetch.
        url: of the official server or of a mirror with the same files.
        keep_archives: leave the zip files in the folder.
        progress: show bars.

    Returns:
        Whether anything was missing.

    Raises:
        DownloadError: there is no room, or something cannot be fetched or unpacked.
        DatasetError: the folder holds the annotations of other pictures.
    """
    archives = missing_archives(folder, splits, release)
    _require_room(folder, archives, keep_archives)
    if archives and release.annotations not in archives:
        _require_whole_lists(folder, splits, release)
    for archive in archives:
        path = fetch(
            f"{url.rstrip('/')}/{archive.path}",
            folder / Path(archive.path).name,
            size=archive.size,
            sha256=archive.sha256,
            progress=progress,
        )
        count = unpack(path, folder, archive.members, archive.limits, progress=progress)
        logger.info("%s: %d files unpacked and checked", path, count)
        if not keep_archives:
            path.unlink()
            logger.info("%s: removed", path)
    return bool(archives)


def _require_room(folder: Path, archives: list[Archive], keep_archives: bool) -> None:
    """Refuse before hours of downloading what would not fit in the end."""
    used = peak = 0
    for archive in archives:
        path = folder / Path(archive.path).name
        there = sum(file.stat().st_size for file in (path, path.with_name(path.name + ".part")) if file.is_file())
        unpacked = folder / Path(archive.path).stem
        used += archive.size - there + archive.limits.total - sum(file.stat().st_size for file in unpacked.glob("*.*"))
        peak = max(peak, used)
        used -= 0 if keep_archives else archive.size
    free = free_bytes(folder)
    if peak > free:
        raise DownloadError(
            f"Fetching COCO 2017 into '{folder}' needs {gigabytes(peak)}, while an archive and its files lie there "
            f"side by side, but only {gigabytes(free)} are free; make room, or choose another --folder or fewer "
            "--splits."
        )


def _require_whole_lists(folder: Path, splits: Iterable[str], release: Release) -> None:
    """Refuse to add the pictures of COCO to the annotations of something else."""
    for split in splits:
        path = annotation_file(folder, split)
        listed, expected = len(read_outline(path)["images"]), release.counts[split]
        if listed != expected:
            raise DatasetError(
                f"{path} lists {listed} pictures, but COCO's lists {expected}; choose another --folder, or run this "
                "with --check if the folder is as it should be."
            )


def check(folder: Path, split: str, release: Release) -> str:
    """Read the annotations of a split as training does, see that all pictures are there, and say what is there.

    Raises:
        DatasetError: something is missing or wrong.
    """
    dataset = CocoDataset(annotation_file(folder, split), folder / split)
    objects = sum(len(dataset.objects(index)) for index in range(len(dataset)))
    words = f"{split}: {len(dataset)} pictures, {objects} objects of {len(dataset.categories)} classes"
    if len(dataset) != release.counts[split]:
        words += f"; all of COCO's {split} are {release.counts[split]} pictures"
    return words
