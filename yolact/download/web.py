"""Asking web servers, and saying in words what went wrong."""

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from typing import Any

from yolact.errors import DownloadError

TIMEOUT = 30.0  # seconds without a byte after which a connection counts as broken
BUSY = {429, 500, 502, 503, 504}  # answers of a server that may do better in a moment


def fetch_json(url: str, *, limit: int = 1_000_000) -> Any:
    """Return the JSON document at `url`, of at most `limit` bytes.

    Raises:
        DownloadError: it cannot be fetched, is larger, or is no JSON.
    """
    try:
        with request(checked_address(url), {}) as response:
            content = response.read(limit + 1)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{url} could not be fetched ({reason(error)}); {advice(error)}.") from error
    if len(content) > limit:
        raise DownloadError(f"{url} is longer than the {limit} bytes expected of it; check the address.")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DownloadError(
            f"{url} did not answer with JSON; check the address, and whether this network asks for a login."
        ) from error


def request(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Ask for `url`; file:, ftp: and data: addresses have no handler here, also as the aim of a redirection.

    Raises:
        HTTPError: an answer from 400 on, or a redirection to nowhere.
        OSError, HTTPException: no connection.
        DownloadError: this cannot be an address.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,  # reads the environment, so it is made anew for every request
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    question = urllib.request.Request(url, headers={"User-Agent": "yolact", **headers})
    try:
        response: http.client.HTTPResponse = opener.open(question, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()  # nobody reads its page
        raise
    except ValueError as error:  # of the address, or of one that it redirects to
        raise DownloadError(f"{url} is no address that can be opened ({error}); correct it.") from error
    return response


def checked_address(url: str) -> str:
    """Return `url` if it can be an address of the web.

    Raises:
        DownloadError: it cannot.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isascii()
    except ValueError:
        usable = False
    if not usable or any(character <= " " for character in url):
        raise DownloadError(f"Expected an address that begins with http:// or https://, got '{url}'; correct it.")
    return url


def version(headers: Message) -> str | None:
    """Return what tells one version of a file on the server from another; a weak ETag does not tell single bytes."""
    etag: str | None = headers["ETag"]
    return etag if etag and not etag.startswith("W/") else headers["Last-Modified"]


def content_range(headers: Message) -> tuple[int | None, int | None]:
    """Return the first byte of an answer and the length of the whole file, None where it does not say."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", headers["Content-Range"] or "")
    start, total = (int(number) if number else None for number in match.groups()) if match else (None, None)
    return start, total


def reason(error: Exception) -> str:
    """Say in a few words, on one line, why nothing came."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {http.client.responses.get(error.code, '')}".strip()
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer for {TIMEOUT:g} seconds"
    text = (isinstance(cause, OSError) and cause.strerror) or str(cause)
    return " ".join(text.split()) or type(cause).__name__


def advice(error: Exception) -> str:
    """Say what to do about it."""
    if isinstance(error, urllib.error.HTTPError) and error.code not in BUSY:
        return "check the address"
    return "check the network and run this again"
