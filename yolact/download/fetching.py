"""Fetching a file with as many connections as it takes."""

import http.client
import logging
import os
import shutil
import time
import urllib.error
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yolact.download.part import MEGABYTE, Part, Wanted, amount, digest, open_part
from yolact.download.web import BUSY, advice, checked_address, content_range, reason, request, version
from yolact.errors import DownloadError

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0  # seconds before the second try; each further pause is twice as long
TRIES = 5  # in a row that bring less than a megabyte
_CHUNK = 1 << 18  # bytes


class _StartAnewError(Exception):
    """What is there of the file cannot be continued."""


def fetch(
    url: str, path: str | Path, *, size: int | None = None, sha256: str | None = None, progress: bool = True
) -> Path:
    """Download `url` to `path`, or keep the file that is there if it is the right one.

    The bytes go to `path` + ".part", which takes the name `path` when it is whole and verified. A part that an earlier
    try or process left is continued, but not joined to bytes of another version of the file: SHA-256 decides that at
    the end or, where it is unknown, the server's ETag or Last-Modified (kept in `path` + ".part.tag").

    Args:
        url: http or https.
        path: the final file; its folder is made.
        size: the expected number of bytes, where known.
        sha256: the expected SHA-256 in hex digits, where known.
        progress: show a bar with bytes and the time left.

    Raises:
        DownloadError: no network, an answer such as 404, other bytes than expected, no room, a folder that cannot be
            written, another file at `path`. A part that the next call can continue stays, and the message says so.
    """
    path = Path(path)
    wanted = Wanted(checked_address(url), size, sha256.lower() if sha256 else None)
    if os.path.lexists(path):
        return _keep(path, wanted)
    bar = {"desc": path.name, "unit": "B", "unit_scale": True, "dynamic_ncols": True, "delay": 0.5}
    with open_part(path, wanted) as part:
        with tqdm(total=size, disable=not progress, **bar) as shown:
            _download(part, wanted, shown)
        part.finish(path)
    checked = "SHA-256 is right" if wanted.sha256 else "as long as expected, SHA-256 not known"
    logger.info("%s: %s, %s", path, amount(part.length), checked)
    return path


def _download(part: Part, wanted: Wanted, bar: "tqdm[Any]") -> None:
    """Fill the part with the right bytes; where pieces of two versions were joined, start anew, once."""
    for last in (False, True):
        _fill(part, wanted, bar)
        difference = part.difference()
        if difference is None:
            return
        anew = part.joined and not last
        part.restart(None)
        if not anew:
            raise DownloadError(
                f"{wanted.url} sent other bytes than expected ({difference}), and they were removed; "
                "run this again later, or get the file in another way."
            )
        logger.warning("%s: what was there of it did not belong to it (%s); starting anew", part.path, difference)


def _fill(part: Part, wanted: Wanted, bar: "tqdm[Any]") -> None:
    """Bring the part to its full length, with new connections where one breaks off."""
    failures, reached = 0, part.length
    while True:
        try:
            _receive(part, wanted, bar)
            return
        except _StartAnewError:
            part.restart(None)  # the next request asks for no range, which is never answered like this
            continue
        except (OSError, http.client.HTTPException) as error:
            failures = 1 if part.length - reached >= MEGABYTE else failures + 1
            reached = max(reached, part.length)
            if failures == TRIES or not _may_pass(error, part):
                raise DownloadError(
                    f"{wanted.url} could not be fetched ({reason(error)}); {advice(error)}{part.note}."
                ) from error
            logger.warning("%s: %s; trying again", part.path, reason(error))
        time.sleep(FIRST_PAUSE * 2 ** (failures - 1))


def _receive(part: Part, wanted: Wanted, bar: "tqdm[Any]") -> None:
    """Ask for the bytes that are missing and append what comes.

    Raises:
        _StartAnewError: the part is no beginning of what the server has.
        OSError, HTTPException: the connection cannot be made or breaks off.
    """
    if wanted.sha256 and part.length == wanted.size:
        return  # a process ended just before it gave the file its name
    try:
        response = request(wanted.url, _range(part, wanted))
    except urllib.error.HTTPError as error:
        if error.code != 416 or not part.length:
            raise
        if content_range(error.headers)[1] == part.length:
            return
        raise _StartAnewError from error
    with response:
        total = _begin(part, response, wanted)
        bar.total, bar.n, bar.last_print_n, bar.initial = total, part.length, part.length, part.length - part.received
        while chunk := response.read1(_CHUNK):
            part.write(chunk)
            bar.update(len(chunk))
            if total is not None and part.length > total:
                return
    if total is not None and part.length < total:
        raise ConnectionError("the connection broke off")


def _range(part: Part, wanted: Wanted) -> dict[str, str]:
    """Return the headers that ask for what is missing."""
    if not part.length:
        return {}
    if not part.resumable or (wanted.size is not None and part.length > wanted.size):
        raise _StartAnewError
    only_if = {"If-Range": part.tag} if wanted.sha256 is None and part.tag is not None else {}
    return {"Range": f"bytes={part.length}-", **only_if}


def _begin(part: Part, response: http.client.HTTPResponse, wanted: Wanted) -> int | None:
    """Look at an answer before its bytes are taken; return how long the file will be."""
    tag = version(response.headers)
    if response.status == 206 and part.length:
        start, total = content_range(response.headers)
        if start != part.length or (wanted.sha256 is None and tag not in (None, part.tag)):
            raise _StartAnewError
        part.joined = True
    elif response.status == 200:
        total = response.length
    else:
        raise DownloadError(f"{wanted.url} answered {response.status}, which is no file; check the address.")
    expected = wanted.size if wanted.size is not None else total
    if expected is None and wanted.sha256 is None:
        raise DownloadError(
            f"{wanted.url} does not say how long it is, so it cannot be checked; get it in another way."
        )
    if total not in (None, expected):
        raise DownloadError(
            f"{wanted.url} has {total} bytes instead of {expected}; check the address, and whether this network asks "
            f"for a login{part.note}."
        )
    _require_room((expected or 0) - part.length, part)
    if response.status == 200:
        part.restart(tag)
    return expected


def _require_room(needed: int, part: Part) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if needed > free:
        raise DownloadError(
            f"'{part.path}' needs another {amount(needed)}, but only {amount(free)} are free there; make room or "
            f"choose another folder{part.note}."
        )


def _may_pass(error: Exception, part: Part) -> bool:
    """Tell whether another try is worth it; who could not connect at all is told at once."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in BUSY
    return part.received > 0 or not isinstance(error, urllib.error.URLError)


def _keep(path: Path, wanted: Wanted) -> Path:
    """Return the file that is there; refuse one that is not the file wanted."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            difference = wanted.difference(size)
            if wanted.sha256 and difference is None:
                difference = wanted.difference(size, digest(file).hexdigest())
    except OSError as error:
        raise DownloadError(f"'{path}' is there but cannot be read ({error.strerror}); remove it.") from error
    if difference is not None:
        raise DownloadError(
            f"'{path}' is there but is not the file at {wanted.url} ({difference}); remove it to fetch that one."
        )
    logger.info("%s is there already%s", path, ", SHA-256 is right" if wanted.sha256 else "")
    return path
