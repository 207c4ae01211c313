"""
A network that misbehaves on purpose: a TCP proxy between a client and a server on loopback.

Each direction can be slowed, cut in the middle of a frame, swallowed or reset; the fault is set while traffic flows.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Fault:
    """
    What happens to the bytes of one direction from now on.

    `delay_s` holds each chunk back, `bytes_left` lets so many through and then does what `then` says: `swallow` (a
    black hole: the connection stays open), `cut` (closed in good order) or `reset`.
    """

    delay_s: float = 0.0
    bytes_left: int | None = None
    then: str = "swallow"


@dataclass
class FaultProxy:
    """
    The proxy's address and its two directions.
    """

    port: int = 0
    to_server: Fault = field(default_factory=Fault)
    to_client: Fault = field(default_factory=Fault)
    connections: int = 0
    swallowed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        """
        Where the client connects to.
        """
        return f"127.0.0.1:{self.port}"

    def heal(self) -> None:
        """
        Let everything through again.
        """
        self.to_server = Fault()
        self.to_client = Fault()


@asynccontextmanager
async def fault_proxy(target: str) -> AsyncIterator[FaultProxy]:
    """
    Run a proxy to *target* while the block runs.
    """
    host, _, port = target.rpartition(":")
    proxy = FaultProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(pump(proxy, "to_server", reader, far_writer)),
            asyncio.create_task(pump(proxy, "to_client", far_reader, writer)),
        ]
        tasks.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            tasks.difference_update(ways)
            for each in (writer, far_writer):
                each.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(proxy: FaultProxy, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """
    Carry one direction until it ends or a fault ends it.
    """
    swallowing = False
    while chunk := await reader.read(1 << 16):
        fault: Fault = getattr(proxy, direction)
        if swallowing and fault.bytes_left is None:
            return  # Healed, but this connection has lost bytes: what follows would be garbage.
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.bytes_left is None:
            writer.write(chunk)
        else:
            writer.write(chunk[: fault.bytes_left])
            reached = len(chunk) > fault.bytes_left
            fault.bytes_left = max(0, fault.bytes_left - len(chunk))
            if reached:
                swallowing = True
                proxy.swallowed.set()
                if fault.then == "reset":
                    reset(writer)
                if fault.then != "swallow":
                    return
        with suppress(ConnectionError):
            await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """
    Close a connection with RST instead of FIN.
    """
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
