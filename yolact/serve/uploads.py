"""A picture that somebody sends: read into memory up to a limit, measured, and only then decoded.

Nothing here touches the disk, and no name that the sender gives is ever used.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from yolact.data.headers import KINDS, header_size, jpeg_scans
from yolact.data.images import decode_image
from yolact.errors import DatasetError

MAX_SCANS = 100  # of a JPEG; 20 MB hold hundreds of thousands, each of which takes milliseconds
FORGOTTEN = 3  # times the limit of bytes, see `_receive`
DRAIN_SECONDS = 5


@dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Attributes:
        max_pixels: of a picture, as its header says.
        max_bytes: of an upload.
        upload_seconds: in which a whole upload must arrive.
        max_requests: that may be on their way at once; one of them uses the model, the others upload or wait.
    """

    max_pixels: int = 40_000_000
    max_bytes: int = 20_000_000
    upload_seconds: float = 60
    max_requests: int = 4


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPException: it is empty, too large or too slow. What lies beyond the limit is not kept.
        ClientDisconnect: the sender has gone.
    """
    try:
        body = await asyncio.wait_for(_receive(request, limits.max_bytes), limits.upload_seconds)
    except asyncio.TimeoutError:  # before Python 3.11 this is not the built-in TimeoutError
        raise HTTPException(
            408, f"The upload did not arrive within {limits.upload_seconds:g} seconds; send a smaller picture."
        ) from None
    if body is None:
        raise HTTPException(
            413,
            f"The upload is larger than the limit of {limits.max_bytes / 1e6:g} MB; send a smaller file, or start the "
            "server with a larger --max-megabytes.",
        )
    if not body:
        raise HTTPException(400, "The upload is empty (0 bytes); try another file.")
    return body


async def drain(request: Request, limits: Limits) -> None:
    """Receive and forget the upload of a request that is refused; see `_receive`."""
    with suppress(asyncio.TimeoutError, ClientDisconnect):
        await asyncio.wait_for(_receive(request, 0, limits.max_bytes), DRAIN_SECONDS)


async def _receive(request: Request, kept: int, forgotten: int | None = None) -> bytes | None:
    """Return a body of at most `kept` bytes, or None for a larger one, of which some more bytes are received.

    A sender that is still busy when the connection closes sees a broken connection instead of the answer.
    """
    most = kept + (FORGOTTEN * kept if forgotten is None else forgotten)
    declared = request.headers.get("content-length", "")
    waits = "expect" in request.headers  # for the answer, before it sends anything
    if declared.isdecimal() and int(declared) > (kept if waits else most):
        return None
    body, length = bytearray(), 0
    async for chunk in request.stream():
        length += len(chunk)
        if length <= kept:
            body += chunk
        else:
            body.clear()
        if length > most:
            break
    return bytes(body) if length <= kept else None


def decode_upload(data: bytes, limits: Limits) -> np.ndarray:
    """Return an upload as uint8 [H, W, 3] BGR; its size is read from its header first.

    Raises:
        HTTPException: it is no picture of a known kind, too large, or damaged.
    """
    size = header_size(data)
    if size is None:
        kinds = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
        raise HTTPException(415, f"The upload is not a {kinds} picture, or its beginning is damaged; try another file.")
    height, width = size
    if height * width > limits.max_pixels:
        raise HTTPException(
            413,
            f"The picture has {width} x {height} pixels, which is more than the limit of {limits.max_pixels / 1e6:g} "
            "megapixels; scale it down, or start the server with a larger --max-megapixels.",
        )
    try:
        if jpeg_scans(data) > MAX_SCANS:
            raise DatasetError("")
        return decode_image(data, Path("upload"))
    except DatasetError:
        raise HTTPException(422, "The picture is damaged or cut off and cannot be decoded; try another file.") from None
