import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hyperframe.frame import WindowUpdateFrame

from omen.v1.signal_service_pb2 import StreamSignalsResponse
from tests.hostile.vitals import READER, caller, check_back, series, vitals
from tests.hostile.wire import Wire, framed, messages, request, wire
from tests.hosting import hosted
from tests.processes import ServerProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
STREAM = "/omen.v1.SignalService/StreamSignals"
OK, CANCELLED, DEADLINE, UNAVAILABLE = 0, 1, 4, 14
INITIAL_WINDOW_SIZE = 4
SHUT = {INITIAL_WINDOW_SIZE: 0}
FEW = (
    "--ingest-calls-max=2",
    "--query-calls-max=2",
    "--subscribe-calls-max=2",
    "--probe-calls-max=10",
    "--bodies-awaited-max=4",
)


class Endless:
    """
    A servicer that streams for as long as somebody takes it.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.ended = asyncio.Event()

    def __getattr__(self, _method: str) -> Callable[..., AsyncIterator[StreamSignalsResponse]]:
        return self.stream

    async def stream(self, _request: object, _context: object) -> AsyncIterator[StreamSignalsResponse]:
        """
        Yield large messages.
        """
        reply = StreamSignalsResponse(cursor="c" * 10_000)
        try:
            while True:
                yield reply
                self.sent += 1
        finally:
            self.ended.set()


@pytest.mark.parametrize("path", [CHECK, WATCH])
async def test_a_reply_nobody_takes_is_given_up(besieged: ServerProcess, path: str) -> None:
    """
    A peer that never opens its window is hung up on; neither its call nor its place stays behind.
    """
    async with wire(besieged.address, settings=SHUT) as connection:
        await connection.ping()
        numbers = [unread(connection, path) for _ in range(20)]
        for number in numbers[:-1]:
            reply = await connection.end(number)
            assert not reply.data
            assert reply.grpc_status in {CANCELLED, UNAVAILABLE}
        unread(connection, CHECK)  # grpc keeps the call it accepted last until the next one comes.
        await connection.end(numbers[-1])


async def test_a_reader_that_takes_up_late_hears_why_it_was_ended(server: ServerProcess) -> None:
    """
    A stream that stalled is told SUBSCRIBER_STALLED if its reader opens the window before it is hung up on.
    """
    async with wire(server.address, settings=SHUT) as connection:
        await connection.ping()
        number = unread(connection, WATCH)
        with pytest.raises(TimeoutError):
            await connection.end(number, timeout_s=0.7)
        connection.send(WindowUpdateFrame(number, window_increment=1000))
        reply = await connection.end(number)
    assert (reply.grpc_status, reply.reason) == (UNAVAILABLE, "SUBSCRIBER_STALLED")


async def test_readers_that_take_nothing_shut_nobody_out(root: Path, arguments: tuple[str, ...]) -> None:
    """
    Calls whose replies nobody takes, many times more than a small server has places for, leave it to a normal client
    as soon as they are hung up on.
    """
    async with running("omen-server", *arguments, *FEW, cwd=root) as server, caller(server.address) as normal:
        await normal.call()
        before = await vitals(server)
        async with wire(server.address, settings=SHUT) as connection:
            await connection.ping()
            for number in [unread(connection, CHECK) for _ in range(90)]:
                await connection.end(number) if number < 170 else None
            async with wire(server.address) as other:  # grpc refuses one more after it was full.
                await other.call(request(CHECK), framed(b""))
            for _ in range(50):
                await normal.call()
            hung_up = dict(await series(server))["omen_rpc_calls_reset_total"]
        await check_back(server, before)
    assert hung_up >= 10


async def test_a_subscriber_that_stops_reading_is_ended() -> None:
    """
    A stream that goes on for ever is ended when its reader's window stays shut, and its servicer is closed.
    """
    servicer = Endless()
    async with (
        hosted(servicer, settings={"write_timeout_s": 0.5}) as server,
        wire(str(server.address), polite=False) as connection,
    ):
        number = unread(connection, STREAM)
        async with asyncio.timeout(30):
            await servicer.ended.wait()
        taken = len(messages(bytes(connection.replies[number].data)))
        assert 1 <= taken <= servicer.sent + 1 < 20  # 64 KiB of window, 10 KB each, the last one cut.
        unread(connection, STREAM)
        await connection.end(number)
        assert connection.replies[number].grpc_status in {CANCELLED, UNAVAILABLE}


async def test_a_subscriber_that_reads_is_left_alone() -> None:
    """
    A reader that takes what comes is not ended, however long it takes over all.
    """
    servicer = Endless()
    async with (
        hosted(servicer, settings={"write_timeout_s": 0.5}) as server,
        wire(str(server.address)) as connection,
    ):
        number = unread(connection, STREAM)
        with pytest.raises(TimeoutError):
            await connection.end(number, timeout_s=1.2)
        assert servicer.sent > 20


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize("spoken", [0, 1])
async def test_a_conversation_in_which_nothing_is_said_is_ended(
    server: ServerProcess, version: str, spoken: int
) -> None:
    """
    A reflection stream that sends nothing, or nothing more, ends when its time is over.
    """
    async with wire(server.address) as connection:
        number = connection.begin(request(REFLECTION.replace("v1", version)))
        connection.body(number, framed(b"\x3a\x00") * spoken, end_stream=False)
        reply = await connection.end(number)
    assert (reply.grpc_status, reply.reason) == (DEADLINE, "REQUEST_BODY_TIMEOUT")
    assert len(messages(bytes(reply.data))) == spoken


def unread(connection: Wire, path: str) -> int:
    """
    Make a call whose reply is not waited for, and return its stream.
    """
    number = connection.begin(request(path, READER))
    connection.body(number, framed(b""))
    return number
