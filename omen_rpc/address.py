"""
Where a server listens: ``HOST:PORT``, ``[V6]:PORT`` or ``unix:PATH``.
"""

import errno
import ipaddress
import socket
from dataclasses import dataclass


class AddressRefused(Exception):
    """
    An address that cannot be listened on; the text says why and what to do.
    """


@dataclass(frozen=True, slots=True)
class Address:
    """
    A host and a port; a path in place of both for a Unix socket.
    """

    host: str
    port: int
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """
        Whether only this machine can reach it.
        """
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """
    Return the address in *text*; AddressRefused when it is none.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise AddressRefused(f"{text!r} names no socket; write unix:PATH")
        return Address("", 0, path)
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AddressRefused(f"{text!r} is no address; write HOST:PORT, such as 127.0.0.1:50051")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressRefused(f"{text!r} is ambiguous; write the IPv6 address in brackets")
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 - what ":PORT" means everywhere; refused without TLS


def check_free(address: Address, flag: str = "--listen") -> None:
    """
    Raise AddressRefused in words when somebody listens on *address* already, or nobody could; *flag* gives another.
    """
    in_use = f"{address} is in use: another server listens there. Stop it, or give another with {flag}."
    if address.path:
        check_no_listener(address, in_use)
        return
    if address.port == 0:
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except socket.gaierror as error:
            raise AddressRefused(f"{address.host} is no host of this machine: {error.strerror}") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressRefused(in_use) from None
            raise AddressRefused(f"cannot listen on {address}: {error.strerror}") from None


def check_no_listener(address: Address, in_use: str) -> None:
    """
    Raise AddressRefused when somebody answers on a Unix socket: grpc would take the path over in silence.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # A listener whose queue is full is one as well, and does not hold us up.
        try:
            probe.connect(address.path)
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise AddressRefused(f"cannot listen on {address}: {error.strerror or error}") from None
    raise AddressRefused(in_use)
