import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.hostile.vitals import MIB, READER, Caller, caller, check_back, forget_peak, peak, resident, vitals
from tests.hostile.wire import Wire, block, framed, header_frames, request, wire
from tests.processes import ServerProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECK = "/grpc.health.v1.Health/Check"
EMIT = "/omen.v1.SignalService/EmitSignals"
ENHANCE_YOUR_CALM = 11
FLOOD_CONNECTIONS = 20  # Of up to 100 calls each: more than the 1,425 that grpc hands over at once.
CALLS_MEANWHILE = 50
WAIT_S = 10.0  # What the slowest of the normal calls may take, on two cores shared with the flood itself.


@pytest.fixture(params=["short", pytest.param("long", marks=pytest.mark.prove)])
def times(request: pytest.FixtureRequest) -> int:
    """
    Return how many times the usual amount is sent.
    """
    return 10 if request.param == "long" else 1


async def test_calls_without_a_message_delay_nobody(
    root: Path, arguments: tuple[str, ...], figure: Callable[[str], None], times: int
) -> None:
    """
    While thousands of calls send headers only, more at once than the server has places and each patient for long,
    every call of a normal client succeeds.
    """
    streams = 200 * times
    patient = "--body-timeout-s=5"
    async with running("omen-server", *arguments, patient, cwd=root) as server, caller(server.address) as normal:
        await normal.call()
        before = await vitals(server)
        floods = [asyncio.create_task(header_only(server.address, streams)) for _ in range(FLOOD_CONNECTIONS)]
        await normal.call_until(lambda: all(flood.done() for flood in floods), CALLS_MEANWHILE)
        opened = sum(await asyncio.gather(*floods))
        after = await check_back(server, before)
    figure(
        f"headers without a message: {opened} calls on {FLOOD_CONNECTIONS} connections; meanwhile {normal.spread}; "
        f"memory {before.resident_bytes // MIB} MB, afterwards {after.resident_bytes // MIB} MB"
    )
    assert opened == streams * FLOOD_CONNECTIONS
    assert worst(normal) < WAIT_S


async def test_a_rapid_reset_flood_delays_nobody(
    besieged: ServerProcess, figure: Callable[[str], None], times: int
) -> None:
    """
    While 20,000 streams are opened and reset at once, a normal client's calls keep succeeding, soon.
    """
    forget_peak(besieged)
    before = resident(besieged)
    began = time.perf_counter()
    async with caller(besieged.address) as normal:
        floods = [asyncio.create_task(rapid_reset(besieged.address, 5000 * times)) for _ in range(4)]
        await normal.call_until(lambda: all(flood.done() for flood in floods), CALLS_MEANWHILE)
        sent = sum(await asyncio.gather(*floods))
    seconds = time.perf_counter() - began
    figure(
        f"rapid reset: {sent} streams in {seconds:.1f} s; meanwhile {normal.spread}; "
        f"memory {before // MIB} MB, at its peak {peak(besieged) // MIB} MB"
    )
    assert sent == 20_000 * times
    assert worst(normal) < WAIT_S


async def test_calls_abandoned_after_their_message_delay_nobody(besieged: ServerProcess, times: int) -> None:
    """
    Calls that are complete and reset before their answer are no better than those reset at once, and no worse.
    """
    async with caller(besieged.address) as normal:
        flood = asyncio.create_task(rapid_reset(besieged.address, 2000 * times, framed(b"")))
        await normal.call_until(flood.done, CALLS_MEANWHILE)
        await flood
    assert worst(normal) < WAIT_S


async def test_more_calls_at_once_than_a_connection_may_have_are_refused(besieged: ServerProcess) -> None:
    """
    The 101st call at once on a connection is refused; the hundred before it go on.
    """
    async with wire(besieged.address) as connection:
        await connection.ping()
        numbers = [connection.begin(request(CHECK)) for _ in range(130)]
        for number in numbers:
            connection.body(number, framed(b""))
        replies = [await connection.end(number) for number in numbers]
    served = [reply for reply in replies if reply.grpc_status is not None]
    assert len(served) >= 100
    assert connection.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 100


async def test_a_ping_flood_ends_its_connection(besieged: ServerProcess) -> None:
    """
    Who pings more often than allowed is told to calm down and is disconnected.
    """
    async with wire(besieged.address) as connection:
        connection.send(*[PingFrame(0, opaque_data=b"hello!!!")] * 20)
        await connection.gone()
    assert connection.goaway is not None
    assert connection.goaway.error_code == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "frame",
    [
        SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65535}),
        SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: 1 << 31}),
        SettingsFrame(0, flags=["ACK"]),
        PriorityFrame(1, depends_on=0, stream_weight=1),
        WindowUpdateFrame(0, window_increment=1),
        RstStreamFrame(1, error_code=8),
        PingFrame(0, opaque_data=b"hello!!!", flags=["ACK"]),
        GoAwayFrame(0, last_stream_id=0, error_code=0),
    ],
    ids=lambda frame: f"{type(frame).__name__} {sorted(frame.flags)} {getattr(frame, 'settings', '')}",
)
async def test_a_flood_of_control_frames_delays_nobody(besieged: ServerProcess, frame: Frame) -> None:
    """
    Twenty thousand frames that ask for nothing are swallowed or end their connection; others go on meanwhile.
    """
    async with caller(besieged.address) as normal, wire(besieged.address) as connection:
        flood = asyncio.create_task(flood_until_closed(connection, [frame] * 200, 100))
        await normal.call_until(flood.done, 10)
        await flood
    assert worst(normal) < WAIT_S


@pytest.mark.parametrize("acknowledges", [True, False])
@pytest.mark.parametrize("kind", ["fields", "value", "nothing"])
async def test_headers_without_end_are_cut_off(
    besieged: ServerProcess, figure: Callable[[str], None], kind: str, acknowledges: bool
) -> None:
    """
    Headers that go on in CONTINUATION frames for 32 MB, as fields, as one value or as nothing, are not kept.
    """
    field = b"\0\x05x-fie\x7f\x00" + b"v" * 127
    first, part = {
        "fields": (b"", field * 120),
        "value": (b"\0\x05x-big" + b"\x7f" + hpack_rest(1 << 25), b"v" * 16384),
        "nothing": (b"", b""),
    }[kind]
    forget_peak(besieged)
    before = resident(besieged)
    async with caller(besieged.address) as normal, wire(besieged.address, polite=acknowledges) as connection:
        if acknowledges:
            await connection.ping()
        number = connection.stream()
        connection.send(HeadersFrame(number, block(request(CHECK)) + first))
        flood = asyncio.create_task(flood_until_closed(connection, [ContinuationFrame(number, part)] * 20, 100))
        await normal.call_until(flood.done, 10)
        await flood
        connection.send(ContinuationFrame(number, b"", flags=["END_HEADERS"]))
        await normal.call()
    grown = (peak(besieged) - before) // MIB
    figure(f"endless headers ({kind}, settings {'' if acknowledges else 'not '}acknowledged): memory grew {grown} MB")
    assert grown < (24 if acknowledges else 96)


async def test_a_table_that_is_referred_to_again_and_again_is_not_unfolded(besieged: ServerProcess) -> None:
    """
    A header of 4 KB that is put in the table and named sixteen thousand times, 64 MB in all, is refused.
    """
    forget_peak(besieged)
    before = resident(besieged)
    entry = b"\x40\x05x-big" + b"\x7f" + hpack_rest(3900) + b"v" * 3900
    async with wire(besieged.address) as connection:
        await connection.ping()
        number = connection.stream()
        connection.send(*header_frames(number, block(request(CHECK)) + entry + b"\xbe" * 16_000))
        connection.body(number, framed(b""))
        reply = await connection.end(number)
    assert reply.grpc_status != 0
    assert peak(besieged) - before < 16 * MIB


@pytest.mark.parametrize(
    "frames",
    [
        [HeadersFrame(1, b"\x3f" + b"\xff" * 4 + b"\x07", flags=["END_HEADERS"])],
        [HeadersFrame(1, b"\xff" * 40, flags=["END_HEADERS"])],
        [HeadersFrame(1, b"\x80", flags=["END_HEADERS"])],
        [HeadersFrame(2, block(request(CHECK)), flags=["END_HEADERS"])],
        [HeadersFrame(1, block(request(CHECK))), DataFrame(1, b"between")],
        [ContinuationFrame(1, b"", flags=["END_HEADERS"])],
        [DataFrame(7, b"on a stream nobody opened")],
        [WindowUpdateFrame(0, window_increment=(1 << 31) - 1)] * 2,
        [SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: (1 << 32) - 1})],
        [SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 1})],
        [b"\0\0\5" + b"\4\0" + b"\0\0\0\0" + b"12345"],
        [b"\xff\xff\xff" + b"\0\0" + b"\0\0\0\1" + b"x" * 20_000],
        [b"\0\0\4" + b"\x08\0" + b"\0\0\0\0" + b"\0\0\0\0"],
        [b"\0\0\1" + b"\6\0" + b"\0\0\0\0" + b"x"],
        [b"\0\0\0" + b"\xee\xff" + b"\0\0\0\1"] * 100,
        [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100],
    ],
    ids=[
        "table size",
        "endless integer",
        "index zero",
        "even stream",
        "data amid headers",
        "continuation of nothing",
        "data on no stream",
        "connection window overflow",
        "initial window overflow",
        "frame size",
        "settings of five bytes",
        "frame of 16 MB",
        "window update of nothing",
        "short ping",
        "unknown frames",
        "text",
    ],
)
async def test_frames_that_break_the_protocol_end_at_most_their_connection(
    server: ServerProcess, frames: list[Frame | bytes]
) -> None:
    """
    Frames that HTTP/2 forbids, overflows among them, harm nobody but their sender.
    """
    async with wire(server.address) as connection:
        connection.send(*frames)
        await connection.ping()
        if not connection.closed.is_set():
            assert (await connection.call(request(CHECK), framed(b""))).ended.is_set()


async def test_a_stream_window_that_overflows_ends_its_stream(server: ServerProcess) -> None:
    """
    A stream's window beyond 2 GiB ends the stream or the connection, and is not wrapped around.
    """
    async with wire(server.address) as connection:
        number = connection.begin(request(CHECK))
        connection.send(*[WindowUpdateFrame(number, window_increment=(1 << 31) - 1)] * 2)
        reply = await connection.end(number)
    assert reply.grpc_status != 0


async def header_only(address: str, streams: int) -> int:
    """
    Open *streams* calls without sending a message, as many at once as a connection may have; return how many.
    """
    async with wire(address) as connection:
        await connection.ping()
        opened: list[int] = []
        while len(opened) < streams:
            if len(opened) >= 90:
                await connection.end(opened[-90])
            opened.append(connection.begin(request(EMIT, ("x-api-key", "writer-key"))))
            await connection.flush()
        return len(opened)


async def rapid_reset(address: str, streams: int, message: bytes = b"") -> int:
    """
    Open *streams* calls and reset each at once, on new connections when the server has enough; return how many.
    """
    headers = block(request(CHECK, READER))
    sent = 0
    while sent < streams:
        async with wire(address) as connection:
            while sent < streams and not connection.closed.is_set() and connection.goaway is None:
                burst: list[Frame] = []
                for _ in range(50):
                    number = connection.stream()
                    burst.append(HeadersFrame(number, headers, flags=["END_HEADERS"]))
                    if message:
                        burst.append(DataFrame(number, message, flags=["END_STREAM"]))
                    burst.append(RstStreamFrame(number, error_code=8))
                connection.send(*burst)
                await connection.flush()
                sent += 50
            await connection.ping()  # What the server has not read when a connection closes, it need not read.
    return sent


async def flood_until_closed(connection: Wire, frames: list[Frame], rounds: int) -> None:
    """
    Send *frames* again and again, until the server has had enough or all rounds are sent.
    """
    burst = b"".join(frame.serialize() for frame in frames)
    for _ in range(rounds):
        if connection.closed.is_set():
            break
        connection.send(burst)
        await connection.flush()


def hpack_rest(number: int) -> bytes:
    """
    Return what follows a full seven-bit prefix, so that HPACK reads *number*.
    """
    number -= 127
    rest = bytearray()
    while number > 127:
        rest.append(number & 127 | 128)
        number >>= 7
    rest.append(number)
    return bytes(rest)


def worst(normal: Caller) -> float:
    """
    Return the seconds of the slowest call.
    """
    return max(normal.seconds)
