"""
What a server process holds, read from outside: memory, descriptors, calls.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from omen.v1.server_info_service_pb2 import GetServerInfoRequest
from omen.v1.server_info_service_pb2_grpc import ServerInfoServiceStub
from tests.processes import ServerProcess

SETTLE_TIMEOUT_S = 15.0
CALL_TIMEOUT_S = 20.0
MIB = 1 << 20
GROWTH_BYTES_MAX = 32 * MIB
CHANNELS_LINGERING_MAX = 6  # A client's own grpc keeps the connection of a closed channel for half a minute.
READER = ("x-api-key", "reader-key")
GAUGES = ("omen_rpc_calls_open", "omen_rpc_bodies_awaited")


@dataclass(frozen=True, slots=True)
class Vitals:
    """
    What a server held at one moment.
    """

    resident_bytes: int
    descriptors: int
    calls: int

    def back_at(
        self, before: "Vitals", *, closing: int = CHANNELS_LINGERING_MAX, growth_bytes_max: int = GROWTH_BYTES_MAX
    ) -> bool:
        """
        Whether the server holds no more than it did *before*, but for some memory, and connections it is yet *closing*.
        """
        return (
            self.calls <= before.calls
            and self.descriptors <= before.descriptors + closing
            and self.resident_bytes <= before.resident_bytes + growth_bytes_max
        )


async def vitals(server: ServerProcess) -> Vitals:
    """
    Read what *server* holds now.
    """
    return Vitals(resident(server), descriptors(server), await calls(server))


def descriptors(server: ServerProcess) -> int:
    """
    Return how many files and sockets *server* has open.
    """
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def open_files(server: ServerProcess) -> list[str]:
    """
    Return what *server* has open, to tell what a leaked descriptor was.
    """
    return sorted(str(entry.readlink()) for entry in Path(f"/proc/{server.pid}/fd").iterdir())


def resident(server: ServerProcess) -> int:
    """
    Return the bytes of memory *server* has now.
    """
    return memory(server, "VmRSS")


def peak(server: ServerProcess) -> int:
    """
    Return the most bytes of memory *server* has had since it started, or since `forget_peak`.
    """
    return memory(server, "VmHWM")


def forget_peak(server: ServerProcess) -> None:
    """
    Let `peak` start anew.
    """
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def memory(server: ServerProcess, name: str) -> int:
    """
    Return one of the kernel's figures of *server*'s memory, in bytes.
    """
    text = Path(f"/proc/{server.pid}/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) * 1024


async def calls(server: ServerProcess) -> int:
    """
    Return how many calls *server* says are open or have no message yet.
    """
    return round(sum([value for name, value in await series(server) if name.startswith(GAUGES)]))


async def series(server: ServerProcess) -> list[tuple[str, float]]:
    """
    Read every series *server* exposes.
    """
    host, _, port = server.web.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    lines = text.partition("\r\n\r\n")[2].splitlines()
    return [(name, float(value)) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))]


async def check_back(
    server: ServerProcess,
    before: Vitals,
    *,
    closing: int = CHANNELS_LINGERING_MAX,
    growth_bytes_max: int = GROWTH_BYTES_MAX,
) -> Vitals:
    """
    Check that *server* soon holds no more than *before*, and return what it holds then.
    """
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        now = await vitals(server)  # Nobody tells us when memory is given back; asking takes a moment of its own.
        if now.back_at(before, closing=closing, growth_bytes_max=growth_bytes_max):
            return now
        assert time.monotonic() < deadline, f"{before} became {now}, {open_files(server)}"


async def line_of(server: ServerProcess, method: str) -> int:
    """
    Wait for the first line about a method that starts like *method*, and return its number.
    """
    async with asyncio.timeout(CALL_TIMEOUT_S), server._arrived:
        while True:
            for number, line in enumerate(server.lines):
                if str(line.get("method", "")).startswith(method):
                    return number
            await server._arrived.wait()


class Caller:
    """
    A well-behaved client, which keeps one channel open.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ServerInfoServiceStub(channel)
        self.seconds: list[float] = []
        self._meanwhile: list[float] = []

    async def call(self) -> None:
        """
        Make a call that a healthy server answers.
        """
        began = time.perf_counter()
        reply = await self._stub.GetServerInfo(GetServerInfoRequest(), metadata=(READER,), timeout=CALL_TIMEOUT_S)
        self.seconds.append(time.perf_counter() - began)
        assert reply.service == "omen-server"

    async def call_until(self, done: Callable[[], bool], at_least: int) -> None:
        """
        Call again and again until *done*, and no fewer than *at_least* times.
        """
        while not done():
            await self.call()
        self._meanwhile = sorted(self.seconds)
        while len(self.seconds) < at_least:
            await self.call()

    @property
    def spread(self) -> str:
        """
        How long those calls took that were begun before `call_until` saw the end it waited for.
        """
        ordered = self._meanwhile
        p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        return (
            f"{len(ordered)} calls, p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, worst {ordered[-1] * 1000:.1f} ms"
        )


@asynccontextmanager
async def caller(address: str) -> AsyncIterator[Caller]:
    """
    Open a channel of its own to *address*.
    """
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield Caller(channel)
