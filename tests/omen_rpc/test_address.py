import socket
from pathlib import Path

import pytest

from omen_rpc.address import Address, AddressRefused, check_free, parse_address


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:50051", Address("127.0.0.1", 50051), True),
        ("127.9.9.9:0", Address("127.9.9.9", 0), True),
        ("localhost:1", Address("localhost", 1), True),
        ("[::1]:65535", Address("::1", 65535), True),
        ("[::]:1", Address("::", 1), False),
        ("0.0.0.0:1", Address("0.0.0.0", 1), False),
        (":50051", Address("0.0.0.0", 50051), False),
        ("10.0.0.7:1", Address("10.0.0.7", 1), False),
        ("omen.example:1", Address("omen.example", 1), False),
        ("localhost.example:1", Address("localhost.example", 1), False),
        ("unix:/run/omen.sock", Address("", 0, "/run/omen.sock"), True),
        ("unix:///run/omen.sock", Address("", 0, "/run/omen.sock"), True),
        ("unix:here.sock", Address("", 0, "here.sock"), True),
    ],
)
def test_address_is_read(text: str, address: Address, loopback: bool) -> None:
    """
    An address is a host and a port, in brackets for IPv6, or a socket's path; only some stay on this machine.
    """
    assert parse_address(text) == address
    assert parse_address(text).is_loopback == loopback
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no address; write HOST:PORT"),
        ("50051", "is no address"),
        ("127.0.0.1", "is no address"),
        ("127.0.0.1:", "is no address"),
        ("127.0.0.1:http", "is no address"),
        ("127.0.0.1:65536", "is no address"),
        ("127.0.0.1:-1", "is no address"),
        ("127.0.0.1:²", "is no address"),
        ("::1:50051", "is ambiguous; write the IPv6 address in brackets"),
        ("unix:", "names no socket"),
        ("unix://", "names no socket"),
    ],
)
def test_what_is_no_address_is_refused(text: str, says: str) -> None:
    """
    Anything else is refused with the form that is meant.
    """
    with pytest.raises(AddressRefused, match=says):
        parse_address(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_port_in_use_is_told(host: str) -> None:
    """
    A port somebody listens on is refused with the flag that gives another; the same port is free a moment later.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        address = Address(host, taken.getsockname()[1])
        with pytest.raises(AddressRefused, match=r"is in use: another server listens there\..* --listen"):
            check_free(address)
        with pytest.raises(AddressRefused, match="--metrics-port"):
            check_free(address, "--metrics-port")
    check_free(address)


def test_host_of_another_machine_is_told() -> None:
    """
    An address that is not this machine's, or a name that is nobody's, is refused in words.
    """
    with pytest.raises(AddressRefused, match=r"cannot listen on 192\.0\.2\.1:1: Cannot assign requested address"):
        check_free(Address("192.0.2.1", 1))
    with pytest.raises(AddressRefused, match="is no host of this machine"):
        check_free(Address("no-such-host.invalid", 1))


def test_socket_in_use_is_told(tmp_path: Path) -> None:
    """
    A Unix socket that somebody answers on is refused; one left behind by a crash, or none, is free.
    """
    path = tmp_path / "s.sock"
    address = Address("", 0, str(path))
    check_free(address)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        with pytest.raises(AddressRefused, match=r"s\.sock is in use"):
            check_free(address)
    check_free(address)
    with pytest.raises(AddressRefused, match="cannot listen on unix:"):
        check_free(Address("", 0, "x" * 200))
