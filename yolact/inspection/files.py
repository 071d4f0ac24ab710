"""Opening every picture file once: can it be read, is it turned, and does it stand in the set twice?"""

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from yolact.data.annotations import ImageRecord
from yolact.data.images import decode_image
from yolact.errors import DatasetError
from yolact.inspection.entries import InspectedSet
from yolact.inspection.findings import Example

ORIENTATION = 0x0112  # the EXIF tag
MAX_THREADS = 8  # decoding and hashing leave Python's lock, so threads do


class FileFacts(NamedTuple):
    """What opening one picture gave."""

    content: bytes | None  # a digest of the pixels, or of the bytes where they cannot be decoded; None without a file
    orientation: int = 1  # of the EXIF data, 1 to 8; 1 is upright
    stored_size: tuple[int, int] = (0, 0)  # (H, W) before the orientation, where that is not 1
    kind: str | None = None  # of the fault, if there is one
    note: str = ""


def inspect_files(inspected: InspectedSet) -> list[FileFacts]:
    """Open the pictures of a set, add what is wrong to its findings, and return what was seen, by place."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        jobs = pool.map(lambda picture: _look(inspected, picture), inspected.pictures)
        bar = tqdm(jobs, desc=f"{inspected.name}: pictures", unit="picture", total=len(inspected.pictures))
        facts = list(bar)
    for place, (picture, fact) in enumerate(zip(inspected.pictures, facts, strict=True)):
        about = Example(picture=picture.file_name, place=place)
        if fact.kind is not None:
            inspected.findings.add(fact.kind, about._replace(note=fact.note))
        if fact.orientation != 1:
            inspected.findings.add("exif-rotation", about._replace(note=_reading(picture, fact)))
    _find_duplicates(inspected, facts)
    return facts


def find_shared(train: InspectedSet, val: InspectedSet, facts: tuple[Sequence[FileFacts], Sequence[FileFacts]]) -> None:
    """Add to the findings of `val` the pictures that `train` holds too, whatever their names."""
    names = {fact.content: item.file_name for item, fact in zip(train.pictures, facts[0], strict=True)}
    for place, (picture, fact) in enumerate(zip(val.pictures, facts[1], strict=True)):
        if fact.content is not None and fact.content in names:
            about = Example(picture=picture.file_name, place=place, note=f"'{names[fact.content]}' of the training set")
            val.findings.add("shared-picture", about)


def _look(inspected: InspectedSet, picture: ImageRecord) -> FileFacts:
    path = inspected.image_folder / picture.file_name
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError is a name that no file can have
        return FileFacts(None, kind="missing-picture", note=getattr(error, "strerror", None) or str(error))
    orientation, stored_size = _orientation(data)
    try:
        pixels = decode_image(data, path, (picture.height, picture.width))
    except DatasetError as error:
        digest = hashlib.blake2b(data, digest_size=16).digest()
        return FileFacts(digest, orientation, stored_size, error.kind or "unreadable-picture", str(error))
    digest = hashlib.blake2b(pixels.data, digest_size=16, salt=str(pixels.shape[1]).encode()).digest()
    return FileFacts(digest, orientation, stored_size)


def _orientation(data: bytes) -> tuple[int, tuple[int, int]]:
    """Return the EXIF orientation, 1 if there is none, and the stored (H, W)."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            orientation = int(picture.getexif().get(ORIENTATION, 1))
            return (orientation if 1 <= orientation <= 8 else 1), (picture.height, picture.width)
    except Exception:  # Pillow raises all sorts on damaged files; that they are damaged, decoding will say
        return 1, (0, 0)


def _reading(picture: ImageRecord, fact: FileFacts) -> str:
    """Say which way a turned picture is read, and whether its size could decide that."""
    size = (picture.height, picture.width)
    quarter_turn = fact.orientation >= 5 and size[0] != size[1]
    if quarter_turn and size == fact.stored_size:
        return f"orientation {fact.orientation}, read as stored, because the JSON has the stored size"
    if quarter_turn and size == fact.stored_size[::-1]:
        return f"orientation {fact.orientation}, read turned, because the JSON has the turned size"
    return f"orientation {fact.orientation}, read turned; the size does not tell which way the annotations mean"


def _find_duplicates(inspected: InspectedSet, facts: Sequence[FileFacts]) -> None:
    first: dict[bytes, str] = {}
    for place, (picture, fact) in enumerate(zip(inspected.pictures, facts, strict=True)):
        if fact.content is None:
            continue
        known = first.setdefault(fact.content, picture.file_name)
        if os.path.normpath(known) != os.path.normpath(picture.file_name):  # one file under two ids is another fault
            about = Example(picture=picture.file_name, place=place, note=f"the same picture as '{known}'")
            inspected.findings.add("duplicate-picture", about)
