import socket

import pytest

for package in ("starlette", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install starlette uvicorn)")

from yolact.errors import UserError  # noqa: E402
from yolact.serve.server import is_loopback, open_socket, url_of  # noqa: E402


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_known_as_such(host):
    with open_socket(host, 0) as opened:
        assert is_loopback(opened)
        assert url_of(opened).startswith(("http://127.0.0.", "http://[::1]:"))
        assert int(url_of(opened).rpartition(":")[2]) == opened.getsockname()[1] > 0


def test_the_address_of_all_interfaces_is_told_by_the_name_of_the_machine():
    with open_socket("0.0.0.0", 0) as opened:
        assert not is_loopback(opened)
        assert url_of(opened) == f"http://{socket.gethostname()}:{opened.getsockname()[1]}"


def test_an_address_of_ipv6_stands_in_brackets():
    try:
        opened = open_socket("::1", 0)
    except UserError:
        pytest.skip("this machine has no IPv6")
    with opened:
        assert is_loopback(opened)
        assert url_of(opened) == f"http://[::1]:{opened.getsockname()[1]}"


def test_a_port_is_taken_once():
    with open_socket("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(UserError, match=rf"Cannot listen on 127.0.0.1, port {port} \("):
            open_socket("127.0.0.1", port)
    open_socket("127.0.0.1", port).close()  # and is free at once


@pytest.mark.parametrize(
    ("host", "port"), [("no.such.host.invalid", 8000), ("", 8000), ("a" * 70, 8000), ("1.2.3.4", 80)]
)
def test_addresses_of_nobody_or_of_others_are_refused(host, port):
    with pytest.raises(UserError, match=r"^(This machine knows no address|Cannot listen on) .+ give another --"):
        open_socket(host, port)
