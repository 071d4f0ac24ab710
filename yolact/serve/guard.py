"""Who may ask: pages of this server only, under a name of this machine, and nothing from any other host in the page."""

import logging
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

HEADERS = {
    # The page takes nothing from any other host, nor sends anything there.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    # One request for each connection: the deadline for its first bytes (see server.py) then covers all of it.
    "Connection": "close",
}


class Guard:
    """Refuses requests under foreign names and from foreign pages, and puts `HEADERS` on every answer.

    A page of another site can send requests to a server on loopback, and by DNS rebinding (a name of its own that
    suddenly means 127.0.0.1) also read the answers. Names tell: any port will do, so that a forwarded one works.

    Args:
        hosts: names under which the server may be addressed; None allows all.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, also where the application fails: the next one may well do."""
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        fault = self._fault(Headers(scope=scope)) if scope["type"] == "http" else None
        app = JSONResponse({"error": fault}, 403) if fault else self.app
        try:
            await app(scope, receive, send_guarded)
        except Exception as error:
            logger.exception("A request failed.")
            if not started:
                sentence = f"The server failed on this request ({type(error).__name__}); its log says where."
                await JSONResponse({"error": sentence}, 500)(scope, receive, send_guarded)

    def _fault(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and _name(host) not in self.hosts:
            return f"This server answers under {', '.join(sorted(self.hosts))} only; open one of these addresses."
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return "This request comes from a page of another site; use the page of this server."
        return None


def _name(host: str) -> str | None:
    """Return the name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
