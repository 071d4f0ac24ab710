"""The web server: its socket, its patience, and its end."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from yolact.errors import UserError

HEADER_SECONDS = 10  # in which a connection must have sent the head of its request
MAX_CONNECTIONS = 64  # each holds at most 64 KB beside an upload
GRACE_SECONDS = 2  # that answers have to finish after Ctrl-C


def open_socket(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 takes a free one.

    Raises:
        UserError: there is no such address, or somebody else listens there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError, OverflowError):
        raise UserError(
            f"This machine knows no address '{host}', port {port}; give another --host or --port."
        ) from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a port rests for a minute after use
        opened.bind(address)
        opened.listen()
    except OSError as error:
        opened.close()
        raise UserError(
            f"Cannot listen on {host}, port {port} ({error.strerror}); give another --host, or --port (0: a free one)."
        ) from None
    return opened


def is_loopback(opened: socket.socket) -> bool:
    """Tell whether only programs on this machine reach a socket."""
    return ipaddress.ip_address(opened.getsockname()[0]).is_loopback


def url_of(opened: socket.socket) -> str:
    """Return the address to open in a browser."""
    host, port = opened.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(app: ASGIApp, ready: Callable[[], None]) -> uvicorn.Server:
    """Return a server that calls `ready` when it has started.

    `run(sockets=[...])` serves until Ctrl-C, which comes out as KeyboardInterrupt, or until `should_exit` is set.
    """
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_level="critical",  # what fails is logged by the application (guard.py)
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _Server(config, ready)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.ready()


class PatientProtocol(H11Protocol):
    """HTTP on one connection, which is closed where the head of the request does not come in time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        super().connection_made(cast(asyncio.Transport, transport))
        self.loop.call_later(HEADER_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
