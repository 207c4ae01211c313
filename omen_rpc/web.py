"""
The plain HTTP port of a server: /metrics for Prometheus, /livez and /readyz for orchestrators.

Hand-written because it answers three fixed paths and nothing else, and must stay small beside the signals.
"""

import asyncio
from collections.abc import Callable

from omen_rpc import metrics
from omen_rpc.address import Address, AddressRefused, check_free

REQUEST_BYTES_MAX = 8192
REQUEST_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 64
TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Web:
    """
    Serves the three paths until closed. *server* names whose series are told.
    """

    def __init__(self, address: Address, ready: Callable[[], bool], server: str = "") -> None:
        self._address = address
        self._server_name = server
        self._ready = ready
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> Address:
        """
        Listen, and return the address with the port in use.
        """
        check_free(self._address, "--metrics-port")
        try:
            self._server = await asyncio.start_server(
                self._connection, self._address.host, self._address.port, limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            raise AddressRefused(f"cannot listen on {self._address}: {error.strerror}") from None
        return Address(self._address.host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """
        Stop listening.
        """
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._reply(head))
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # Whoever does not send a request gets no reply.
        finally:
            self._open -= 1
            writer.close()

    def _reply(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in {b"GET", b"HEAD"}:
            status, kind, body = "405 Method Not Allowed", TEXT, b"only GET\n"
        elif path == b"/metrics":
            status, kind, body = "200 OK", EXPOSITION, metrics.exposition(self._server_name)
        elif path == b"/livez":
            status, kind, body = "200 OK", TEXT, b"ok\n"
        elif path == b"/readyz":
            ready = self._ready()
            status, kind, body = (
                ("200 OK", TEXT, b"ok\n") if ready else ("503 Service Unavailable", TEXT, b"not ready\n")
            )
        else:
            status, kind, body = "404 Not Found", TEXT, b"try /metrics, /livez or /readyz\n"
        lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return lines.encode() + (b"" if method == b"HEAD" else body)
