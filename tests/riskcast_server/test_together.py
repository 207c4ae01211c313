"""
Calls of one signal that come at the same time: they share the way to the disk, and nothing else.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.call import CURRENT, Call
from omen_rpc.errors import CallError
from omen_rpc.metadata import IDEMPOTENCY_KEY
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast_server.ingest import Ingest
from riskcast_server.store import Arrival, Receipt, SignalStore, StoreFull
from riskcast_server.store.sqlite.group import Group
from tests.contracts.memory_store import Memory, open_memory
from tests.contracts.store_engines import SqliteDatabase
from tests.riskcast_server.signals import signal


async def call(ingest: Ingest, event: SignalEvent, key: str = "", **more: object) -> pb.IngestResponse | Exception:
    """
    Call Ingest as the gate does, and return what it answers or raises.
    """
    metadata = ((IDEMPOTENCY_KEY, key),) if key else ()
    CURRENT.set(Call("/riskcast.v1.IngestService/Ingest", "request", "", "ipv4:127.0.0.1:1", metadata))
    try:
        return await ingest.Ingest(pb.IngestRequest(signal=event, **more), None)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error


class Failing:
    """
    A store of which one put fails, and which remembers what it was asked to keep.
    """

    def __init__(self, store: SignalStore, failing: int) -> None:
        self._store = store
        self._failing = failing
        self.puts: list[Sequence[Arrival]] = []

    async def put(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        See `SignalStore`.
        """
        self.puts.append(arrivals)
        if len(self.puts) == self._failing:
            raise StoreFull("no space left")
        return await self._store.put(arrivals)


async def test_calls_that_come_together_share_a_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Ten calls at one moment are one transaction, each with an ack of its own, and counted one by one.
    """
    shared: list[int] = []
    monkeypatch.setattr(
        "riskcast_server.store.sqlite.writer.Group",
        lambda arrivals, acks, at_us: shared.append(len(arrivals)) or Group(arrivals, acks, at_us),  # type: ignore[func-returns-value]
    )
    async with SqliteDatabase(tmp_path / "riskcast.db").opened() as store:
        ingest = Ingest(store.signals)
        replies = await asyncio.gather(*(call(ingest, signal(number, index=number)) for number in range(1, 11)))
        stats = await store.signals.stats()
    assert len({reply.ack_id for reply in replies if isinstance(reply, pb.IngestResponse)}) == 10
    assert shared == [10]
    assert (stats.stored, ingest.counts.accepted) == (10, 10)


async def test_what_is_wrong_with_one_call_is_told_to_that_one() -> None:
    """
    Beside a bad signal, a wrong key, a duplicate and a conflict all others are stored, and each call hears its own.
    """
    known, changed, bad = signal(1), signal(1, title="Another title"), signal(2)
    bad.signal.probability = 1.5
    async with open_memory(Memory()) as store:
        ingest = Ingest(store.signals)
        (original,) = [await call(ingest, known)]
        assert isinstance(original, pb.IngestResponse)
        replies = await asyncio.gather(
            call(ingest, signal(3)),
            call(ingest, bad),
            call(ingest, signal(4), key="OMEN-OTHER"),
            call(ingest, known),
            call(ingest, changed),
            call(ingest, signal(5), request_id="x" * 129),
            call(ingest, signal(6), origin=99),
            call(ingest, signal(7)),
        )
        stored = (await store.signals.stats()).stored
    assert [isinstance(reply, pb.IngestResponse) for reply in replies] == [True, *[False] * 6, True]
    errors = [reply for reply in replies if isinstance(reply, CallError)]
    assert [error.reason for error in errors] == [
        "INVALID_FIELDS",
        "IDEMPOTENCY_KEY_MISMATCH",
        "SIGNAL_ALREADY_INGESTED",
        "SIGNAL_CONTENT_CONFLICT",
        "INVALID_FIELDS",
        "INVALID_FIELDS",
    ]
    assert [error.metadata["ack_id"] for error in errors[2:4]] == [original.ack_id] * 2
    assert stored == 3
    counts = ingest.counts
    assert (counts.accepted, counts.duplicates, counts.conflicts, counts.refused) == (3, 2, 1, 3)


async def test_a_bug_that_one_signal_meets_is_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever goes wrong with one of those who are taken together, the others are stored.
    """

    def buggy(event: SignalEvent, _data: bytes) -> bool:
        if event.signal_id == signal(2).signal_id:
            raise ZeroDivisionError
        return True

    monkeypatch.setattr("riskcast_server.ingest.passes", buggy)
    async with open_memory(Memory()) as store:
        ingest = Ingest(store.signals)
        one, broken, other = await asyncio.gather(*(call(ingest, signal(number)) for number in (1, 2, 3)))
    assert isinstance(one, pb.IngestResponse)
    assert isinstance(other, pb.IngestResponse)
    assert isinstance(broken, ZeroDivisionError)


async def test_a_doubt_that_cannot_be_cleared_up_touches_nobody_else() -> None:
    """
    A duplicate under a borrowed digest is put a second time. When that fails its caller is told so; those who were
    stored with it have their acks.
    """
    honest = signal(1, index=1)
    forged = signal(1, index=1, title="Another title")
    forged.content_digest = honest.content_digest
    hot = pb.INGEST_ORIGIN_HOT_PATH
    async with open_memory(Memory()) as store:
        await call(Ingest(store.signals), honest, origin=hot)
        failing = Failing(store.signals, 2)
        ingest = Ingest(failing)  # type: ignore[arg-type]
        fresh, doubtful = await asyncio.gather(
            call(ingest, signal(2, index=2), origin=hot), call(ingest, forged, origin=hot)
        )
        again = await call(ingest, forged, origin=hot)
    assert isinstance(fresh, pb.IngestResponse)
    assert isinstance(doubtful, StoreFull)
    assert isinstance(again, CallError)
    assert again.reason == "SIGNAL_CONTENT_CONFLICT"
    assert (ingest.counts.accepted, ingest.counts.duplicates, ingest.counts.conflicts) == (1, 1, 1)


async def test_a_batch_with_a_doubt_that_cannot_be_cleared_up_fails_as_a_whole() -> None:
    """
    What is no matter of one item is an error of the call, which can be repeated: what was stored is known then.
    """
    honest = signal(1, index=1)
    forged = signal(1, index=1, title="Another title")
    forged.content_digest = honest.content_digest
    request = pb.IngestBatchRequest(origin=pb.INGEST_ORIGIN_HOT_PATH)
    for event in (signal(2, index=2), forged):
        request.items.add(signal=event)
    async with open_memory(Memory()) as store:
        await call(Ingest(store.signals), honest, origin=pb.INGEST_ORIGIN_HOT_PATH)
        ingest = Ingest(Failing(store.signals, 2))  # type: ignore[arg-type]
        with pytest.raises(StoreFull):
            await ingest.IngestBatch(request, None)
        again = await ingest.IngestBatch(request, None)
    assert [result.WhichOneof("outcome") for result in again.results] == ["duplicate", "duplicate"]
    assert [result.duplicate.content_conflict for result in again.results] == [False, True]


@pytest.mark.parametrize("origin", [pb.INGEST_ORIGIN_DIRECT, pb.INGEST_ORIGIN_HOT_PATH])
async def test_an_honest_duplicate_is_put_once(origin: pb.IngestOrigin.ValueType) -> None:
    """
    Only a digest that is not the content's leads to a second look in the store.
    """
    async with open_memory(Memory()) as store:
        counting = Failing(store.signals, 0)
        ingest = Ingest(counting)  # type: ignore[arg-type]
        for _ in range(2):
            await call(ingest, signal(1, index=1), origin=origin)
    assert [len(put) for put in counting.puts] == [1, 1]
