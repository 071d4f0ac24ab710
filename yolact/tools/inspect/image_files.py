"""Opening every image file once: can it be read, is it turned, and is it in the sets twice?"""

import hashlib
import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import ExifTags, Image
from tqdm import tqdm

from yolact.data.images import decode_image
from yolact.errors import DatasetError
from yolact.tools.inspect.findings import Example
from yolact.tools.inspect.reading import InspectedSet

MAX_THREADS = 8  # decoding and hashing leave Python's lock, so threads do


def inspect_files(inspected: InspectedSet, trained_on: Mapping[bytes, str] | None = None) -> dict[bytes, str]:
    """Open the images of a set, and add what is wrong to its findings.

    Returns the first name of each content, a digest of the pixels, or of the bytes of what is damaged; `trained_on` is
    what was returned of the training set.
    """
    first: dict[bytes, str] = {}
    folder, images = inspected.source.image_folder, inspected.images
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        jobs = pool.map(lambda image: _look(folder / image.file_name, (image.height, image.width)), images)
        seen = tqdm(jobs, f"{inspected.source.name}: images", unit="image", total=len(images))
        for index, (image, (content, faults)) in enumerate(zip(images, seen, strict=True)):
            known = first.setdefault(content, image.file_name) if content else image.file_name
            if os.path.normpath(known) != os.path.normpath(image.file_name):  # a repeated name is another fault
                faults["duplicate-picture"] = f"the same image as '{known}'"
            if content and trained_on and content in trained_on:
                faults["shared-picture"] = f"'{trained_on[content]}' of the training set"
            for kind, note in faults.items():
                inspected.findings.add(kind, note, Example(image.file_name, image=index))
    return first


def _look(path: Path, size: tuple[int, int]) -> tuple[bytes, dict[str, str]]:
    """Return a digest of what a file holds, b"" if there is none, and its faults: kind -> note; `size` is JSON's."""
    faults: dict[str, str] = {}
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError is a name that no file can have
        return b"", {"missing-picture": getattr(error, "strerror", None) or str(error)}
    try:
        with Image.open(io.BytesIO(data)) as file:
            orientation, stored = int(file.getexif().get(ExifTags.Base.Orientation, 1)), (file.height, file.width)
        if 2 <= orientation <= 8:
            decides = orientation >= 5 and size[0] != size[1]  # a quarter turn
            reading = "as stored" if decides and size == stored else "turned"
            reason = "asks" if decides else "does not tell what annotations mean"
            faults["exif-rotation"] = f"orientation {orientation}, read {reading}, as the JSON's size {reason}"
    except Exception:  # Pillow raises all sorts on damaged files; that they are damaged, decoding will say
        pass
    content, salt = memoryview(data), b""
    try:
        pixels = decode_image(data, path, size)
        content, salt = pixels.data, str(pixels.shape[1]).encode()
    except DatasetError as error:
        faults[error.kind or "unreadable-picture"] = str(error)
    return hashlib.blake2b(content, digest_size=16, salt=salt).digest(), faults
