"""Images behind http:// and https:// addresses."""

import http.client
import re
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from yolact.errors import UserError
from yolact.text import printable

ADDRESS = re.compile(r"https?://", re.IGNORECASE)
MAX_BYTES = 200_000_000
TIMEOUT = 30  # seconds without an answer, or without further bytes
MAX_SECONDS = 600  # of an image
BLOCK = 1 << 16  # bytes
PUNCTUATION = "!#$%&'()*+,/:;=?@[]~"  # of addresses; other characters are quoted
KINDS = (  # how image files begin, with the suffix of their kind
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), ".webp"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), ".tif"),
    (re.compile(rb"BM"), ".bmp"),
    (re.compile(rb"GIF8"), ".gif"),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), ".avif"),
    (re.compile(rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL), ".heic"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), ".jp2"),
    (re.compile(rb"P[1-6]\s"), ".ppm"),
)


def fetch_image(address: str, folder: Path) -> Path | None:
    """Download the image behind an address into a new folder below `folder`, of the name that the address has.

    Redirections are followed, to http and https only.

    Returns:
        The file, or None where the content is of another kind, such as a video's or a stream's.

    Raises:
        UserError: nothing can be fetched, or it is larger than 200 MB or takes longer than ten minutes.
    """
    opener = urllib.request.OpenerDirector()  # the usual one also opens file: and ftp:
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    shown, end = printable(address), time.monotonic() + MAX_SECONDS
    try:
        request = urllib.request.Request(quote(address, safe=PUNCTUATION), headers={"User-Agent": "yolact"})
        with opener.open(request, timeout=TIMEOUT) as answer:
            data = answer.read1(BLOCK)
            suffix = next((suffix for start, suffix in KINDS if start.match(data)), None)
            if suffix is None:
                return None
            name = PurePosixPath(unquote(urlsplit(address).path, errors="replace").replace("\0", "")).stem or "image"
            number = len(list(folder.iterdir())) + 1
            path = folder / f"address{number}" / (name.encode()[:100].decode(errors="ignore") + suffix)
            path.parent.mkdir()
            size = 0
            with path.open("xb") as file:
                while data:
                    size += file.write(data)
                    if size > MAX_BYTES or time.monotonic() > end:
                        limit = f"{MAX_BYTES:,} bytes, or takes longer than {MAX_SECONDS} seconds"
                        raise UserError(f"The image '{shown}' has more than {limit}; download it by other means.")
                    data = answer.read1(BLOCK)
            if size < int(answer.headers.get("Content-Length") or 0):
                raise http.client.IncompleteRead(b"")
            return path
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        if isinstance(error, http.client.IncompleteRead):
            reason = "it breaks off"
        raise UserError(f"'{shown}' cannot be fetched ({code}{printable(str(reason))}); check the address.") from None
