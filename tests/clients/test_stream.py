import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from omen.v1.signal_pb2 import SignalEvent
from omen.v1.signal_service_pb2 import StreamSignalsRequest, StreamSignalsResponse
from omen_client import CallError, InvalidRequest, OmenClient, OutOfRange, SignalStream, Streamed, StreamedGap
from omen_client.stream import PAUSE_MAX_S, PAUSE_MIN_S
from omen_rpc.errors import Reason, fault
from tests.fault_proxy import Fault, fault_proxy
from tests.hosting import Scripted, hosted
from tests.ledgers import DAY, flip, payload_byte
from tests.omen_server.stream.streaming import streaming

Reply = StreamSignalsResponse


async def taken(stream: SignalStream, count: int) -> list[Streamed | StreamedGap]:
    """
    Return the next items of a stream.
    """
    async with asyncio.timeout(20):
        return [await anext(stream) for _ in range(count)]


def offsets(items: list[Streamed | StreamedGap]) -> list[int]:
    """
    Return the offsets of signals.
    """
    return [item.event.ledger_offset for item in items if isinstance(item, Streamed)]


def batch(cursor: str, *offsets: int) -> Reply:
    """
    Return a frame with signals.
    """
    return Reply(cursor=cursor, batch=Reply.Batch(events=[SignalEvent(ledger_offset=each) for each in offsets]))


class Script:
    """
    A server whose every stream goes as the next part of the script says: frames, then an error or silence.
    """

    def __init__(self, *parts: list[Any]) -> None:
        self.parts = list(parts)
        self.asked: list[StreamSignalsRequest] = []

    async def stream(self, request: StreamSignalsRequest, _context: Any) -> AsyncIterator[Reply]:
        """
        Play the next part.
        """
        self.asked.append(request)
        for step in self.parts.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step
        await asyncio.Event().wait()


class Naps:
    """
    Sleeping, noted and not done.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """
        Note how long it would have been.
        """
        self.seconds.append(seconds)


async def test_resumes_by_itself(tmp_path: Path) -> None:
    """
    A stream whose connection is reset again and again gives every signal once and in order.
    """
    async with (
        streaming(tmp_path) as at,
        fault_proxy(str(at.server.address)) as proxy,
        OmenClient(proxy.address) as omen,
        omen.stream(from_beginning=True, max_batch=10) as stream,
    ):
        found: list[Streamed | StreamedGap] = []
        for part in range(3):
            first = part * 31
            await at.append(range(first, first + 30))
            found += await taken(stream, first + 30 - len(found))  # All there is: what lay unread would be read first.
            proxy.to_client = Fault(bytes_left=0, then="reset")
            await at.append([first + 30])
            await proxy.swallowed.wait()
            proxy.heal()
            proxy.swallowed.clear()
        found += await taken(stream, 1)
        assert offsets(found) == list(range(1, 94))
        assert stream.connections >= 4


async def test_cursor_moves_when_the_next_is_asked_for() -> None:
    """
    An item that was handed out and not asked past comes again after `cursor`; within a frame nothing moves.
    """
    script = Script([Reply(cursor="a", started=Reply.Started()), batch("b", 1, 2), batch("c", 3)])
    async with hosted(Scripted(stream=script.stream)) as server, OmenClient(str(server.address)) as omen:
        async with aclosing(omen.stream()) as stream:
            seen = []
            for _ in range(3):
                (item,) = await taken(stream, 1)
                seen.append((item.cursor, stream.cursor))
        assert seen == [("a", "a"), ("b", "a"), ("c", "b")]


async def test_comes_back_after_what_was_asked_past() -> None:
    """
    What a retry can mend is waited out, longer each time and as long as the server asks; a frame starts that over.
    """
    stalled = fault(Reason.ERROR_REASON_SUBSCRIBER_STALLED, retry_after_s=9.0)
    draining = fault(Reason.ERROR_REASON_DRAINING)
    script = Script(
        [Reply(cursor="a", started=Reply.Started()), batch("b", 1), draining],
        [draining],
        [draining],
        [batch("c", 2), stalled],
        [batch("d", 3)],
    )
    naps = Naps()
    async with (
        hosted(Scripted(stream=script.stream)) as server,
        OmenClient(str(server.address)) as omen,
        SignalStream(omen.connection, StreamSignalsRequest(from_beginning=True), naps) as stream,
    ):
        assert offsets(await taken(stream, 3)) == [1, 2, 3]
    assert [each.after_cursor for each in script.asked] == ["", "b", "b", "b", "c"]
    first, second, third, fourth = naps.seconds
    assert PAUSE_MIN_S / 2 <= first <= PAUSE_MIN_S <= second <= 2 * PAUSE_MIN_S <= third <= 4 * PAUSE_MIN_S
    assert fourth == 9.0
    assert third < PAUSE_MAX_S


async def test_silence_is_a_dead_connection() -> None:
    """
    A connection that says nothing for two heartbeats is left for a new one, although nothing closed it.
    """
    script = Script([batch("a", 1)], [batch("b", 2)])
    async with (
        hosted(Scripted(stream=script.stream)) as server,
        OmenClient(str(server.address)) as omen,
        omen.stream(heartbeat_s=0.1) as stream,
    ):
        assert offsets(await taken(stream, 2)) == [1, 2]
        assert [each.after_cursor for each in script.asked] == ["", "a"]


async def test_gaps_are_items(tmp_path: Path) -> None:
    """
    Lost offsets come where they lie, as items of their own.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(4))
    path = tmp_path / DAY / "signals-001.wal"
    flip(path, payload_byte(path, 1))
    async with (
        streaming(tmp_path) as at,
        OmenClient(str(at.server.address)) as omen,
        omen.stream(from_beginning=True) as stream,
    ):
        found = await taken(stream, 4)
        assert [(each.first_offset, each.last_offset) for each in found if isinstance(each, StreamedGap)] == [(2, 2)]
        assert offsets(found) == [1, 3, 4]
        assert stream.ledger_id == at.ledger.identity.ledger_id


async def test_permanent_errors_are_raised(tmp_path: Path) -> None:
    """
    A cursor that the ledger does not know, and a request that breaks a rule, end the stream with their types.
    """
    async with streaming(tmp_path / "a") as at, streaming(tmp_path / "b") as other:
        await other.append([1])
        foreign = (await other.subscribe(from_beginning=True).through(1)).cursor
        async with OmenClient(str(at.server.address)) as omen:
            with pytest.raises(OutOfRange) as refused:
                await taken(omen.stream(after_cursor=foreign), 1)
            assert refused.value.reason == "CURSOR_INVALID"
            with pytest.raises(InvalidRequest, match="heartbeat_interval"):
                await taken(omen.stream(heartbeat_s=100), 1)
            with pytest.raises(ValueError, match="exclude"):
                omen.stream(after_cursor=foreign, from_beginning=True)
            await at.append([1])
            assert offsets(await taken(omen.stream(after_cursor=refused.value.metadata["earliest_cursor"]), 1)) == [1]


async def test_may_end_when_it_is_caught_up(tmp_path: Path) -> None:
    """
    With `until_caught_up` a stream ends behind what was there, and its cursor leads to what comes.
    """
    async with streaming(tmp_path) as at, OmenClient(str(at.server.address)) as omen:
        await at.append(range(5))
        async with omen.stream(from_beginning=True, until_caught_up=True) as stream:
            assert offsets([item async for item in stream]) == [1, 2, 3, 4, 5]
        await at.append([5])
        async with omen.stream(after_cursor=stream.cursor, until_caught_up=True) as rest:
            assert offsets([item async for item in rest]) == [6]


async def test_tells_of_what_broke() -> None:
    """
    Each connection that broke is told with its error; what the hearer raises ends the stream.
    """
    stalled = fault(Reason.ERROR_REASON_SUBSCRIBER_STALLED, retry_after_s=0.0)
    draining = fault(Reason.ERROR_REASON_DRAINING, retry_after_s=0.0)
    script = Script([batch("a", 1), stalled], [batch("b", 2), draining])
    heard: list[str] = []

    def broke(error: CallError | None) -> None:
        assert error is not None
        heard.append(error.reason)
        if error.reason == "DRAINING":
            raise error

    async with (
        hosted(Scripted(stream=script.stream)) as server,
        OmenClient(str(server.address)) as omen,
        omen.stream(broke=broke) as stream,
    ):
        assert offsets(await taken(stream, 2)) == [1, 2]
        with pytest.raises(CallError):
            await taken(stream, 1)
    assert heard == ["SUBSCRIBER_STALLED", "DRAINING"]
