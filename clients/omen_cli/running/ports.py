import socket
from collections.abc import Sequence

from omen_cli import exits
from omen_rpc.address import Address, AddressRefused, check_free

HOST = "127.0.0.1"
PORT = 50051
METRICS_PORT = 9051
CONSOLE_PORT = 8080
PORTS_TRIED_MAX = 200


class Ports:
    """
    Ports for several servers, none of them twice.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def row(self, count: int, given: int | None, default: int, flag: str) -> Sequence[int]:
        """
        Return *count* ports: from the given one on, which must be free, or from the default on, whatever is free.
        """
        if given is None:
            return [self._next(default + at) for at in range(count)]
        if given == 0:
            return [self._any() for _ in range(count)]
        if not 0 < given <= 65535 - count + 1:
            text = f"{flag} {given} is no port that {count} servers have room from"
            raise exits.Stopped(exits.USAGE, "USAGE", text, f"Give one from 1 to {65536 - count}, or 0.")
        for port in range(given, given + count):
            try:
                check_free(Address(HOST, port), flag)
            except AddressRefused as error:
                text = str(error)
                remedy = f"Leave {flag} out, and a free one is taken."
                raise exits.Stopped(exits.USAGE, "PORT_IN_USE", text, remedy) from None
            self._taken.add(port)
        return range(given, given + count)

    def _next(self, first: int) -> int:
        for port in range(first, first + PORTS_TRIED_MAX):
            if port in self._taken:
                continue
            try:
                check_free(Address(HOST, port))
            except AddressRefused:
                continue
            self._taken.add(port)
            return port
        raise exits.Stopped(exits.USAGE, "PORT_IN_USE", f"no port is free from {first} on", "Give one that is.")

    def _any(self) -> int:
        while True:
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                port = int(probe.getsockname()[1])
            if port not in self._taken:
                self._taken.add(port)
                return port
