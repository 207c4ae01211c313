import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from omen.v1 import signal_service_pb2 as signals
from omen_client import RiskCastClient, Unavailable
from omen_rpc.errors import Reason, fault
from omen_server.breaker import Breaker, BreakerState
from omen_server.emitter import EARLIER, OVERFLOW, STOPPED
from omen_server.ledger import journal
from omen_server.ledger.durable import Disk, settle_data
from riskcast.v1 import ingest_service_pb2 as pb
from tests.contracts.memory_store import Memory, open_memory
from tests.hosting import hosted, until
from tests.ledgers import DAY, signal_id
from tests.omen_server.far_side import ABORTED, INGEST, INVALID, FakeIngest, accepted, ack_of, failed, rigged

DELIVERED, DUPLICATE = signals.EMIT_STATUS_DELIVERED, signals.EMIT_STATUS_DUPLICATE
LEDGER_ONLY, REJECTED = signals.EMIT_STATUS_LEDGER_ONLY, signals.EMIT_STATUS_REJECTED


async def test_what_is_durable_is_pushed(tmp_path: Path) -> None:
    """
    A signal is pushed once it is durable, alone with its id as the key, and its caller gets RiskCast's ack.
    """
    async with rigged(tmp_path, FakeIngest()) as rig:
        durable: list[int] = []

        async def answer(_request: object) -> None:
            durable.append(rig.ledger.durable_offset)

        rig.fake.answer = answer
        (item,) = await rig.append([1])
        (outcome,) = await rig.outcomes([item])
        assert (outcome.status, outcome.ack_id) == (DELIVERED, ack_of(signal_id(1)))
        assert durable == [item.offset]
        assert rig.fake.keys == [signal_id(1)]
        (request,) = rig.fake.requests
        assert request.origin == pb.INGEST_ORIGIN_HOT_PATH
        assert request.items[0].signal == item.event
        assert request.items[0].request_id == f"{DAY}/1"
        assert rig.told == [(item.offset, outcome)]
        assert rig.emitter.settled(DAY) == (1, 1)


async def test_nothing_is_pushed_before_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While the sync of a record has not returned, nobody is called, and it does not count as waiting.
    """
    syncing, done = threading.Event(), threading.Event()

    def slow(disk: Disk, fd: int) -> None:
        syncing.set()
        assert done.wait(10)
        settle_data(disk, fd)

    monkeypatch.setattr(journal, "settle_data", slow)
    async with rigged(tmp_path, FakeIngest()) as rig:
        appending = asyncio.create_task(rig.append([1]))
        assert await asyncio.to_thread(syncing.wait, 10)
        assert rig.ledger.written_offset == 1
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.fake.requests == []
        assert rig.emitter.view().queue_length == 0
        done.set()
        (outcome,) = await rig.outcomes(await appending)
        assert outcome.status == DELIVERED


async def test_begins_at_the_durable_offset(tmp_path: Path) -> None:
    """
    What was durable before is settled and not pushed again; who asks for it is told so at once.
    """
    async with rigged(tmp_path, FakeIngest(), before=3) as rig:
        assert rig.emitter.settled(DAY) == (3, 3)
        items = await rig.append([1, 2])
        await rig.outcomes(items)
        assert rig.fake.ids == [signal_id(1), signal_id(2)]
        assert await rig.emitter.outcome(3) == EARLIER
        assert rig.emitter.settled(DAY) == (5, 5)


async def test_what_waits_goes_together(tmp_path: Path) -> None:
    """
    While all calls are in flight the rest gathers, and goes out in order in batches of at most a hundred.
    """
    async with rigged(tmp_path, FakeIngest(), calls_max=1) as rig:
        rig.fake.gate.clear()
        items = await rig.append([0])
        await rig.fake.called.wait()
        items += await rig.append(range(1, 251))
        assert rig.emitter.view().calls_in_flight == 1
        rig.fake.gate.set()
        await rig.outcomes(items)
        assert rig.fake.sizes == [1, 100, 100, 50]
        assert rig.fake.ids == [signal_id(number) for number in range(251)]


async def test_calls_in_flight_are_bounded(tmp_path: Path) -> None:
    """
    Four calls are in flight, and the fifth batch waits.
    """
    async with rigged(tmp_path, FakeIngest(), batch_signals_max=1) as rig:
        rig.fake.gate.clear()
        items = await rig.append(range(6))
        await until(lambda: len(rig.fake.requests) == 4)
        view = rig.emitter.view()
        assert (view.calls_in_flight, view.queue_length) == (4, 2)
        rig.fake.gate.set()
        await rig.outcomes(items)
        assert sorted(rig.fake.ids) == [signal_id(number) for number in range(6)]


async def test_batches_are_bounded_in_bytes(tmp_path: Path) -> None:
    """
    A batch ends before it exceeds its bytes; a signal larger than that goes alone.
    """
    async with rigged(tmp_path, FakeIngest(), calls_max=1, batch_bytes_max=5000) as rig:
        rig.fake.gate.clear()
        items = await rig.append([0])
        await rig.fake.called.wait()
        items += await rig.append(range(1, 5), "x" * 2000)
        items += await rig.append([5], "x" * 8000)
        items += await rig.append([6])
        rig.fake.gate.set()
        await rig.outcomes(items)
        assert rig.fake.sizes == [1, 2, 2, 1, 1]


async def test_poison_beside_good_signals(tmp_path: Path) -> None:
    """
    A signal that RiskCast refuses is REJECTED with its reason; its neighbours are delivered, and nobody is sent twice.
    """

    async def answer(request: pb.IngestBatchRequest) -> pb.IngestBatchResponse:
        poison = signal_id(2)
        results = [
            failed(INVALID, "INVALID_FIELDS") if item.signal.signal_id == poison else accepted(item.signal.signal_id)
            for item in request.items
        ]
        return pb.IngestBatchResponse(results=results)

    async with rigged(tmp_path, FakeIngest(answer)) as rig:
        outcomes = await rig.outcomes(await rig.append(range(4)))
        assert [outcome.status for outcome in outcomes] == [DELIVERED, DELIVERED, REJECTED, DELIVERED]
        assert (outcomes[2].reason, outcomes[2].message) == ("INVALID_FIELDS", "as the test says")
        assert len(rig.fake.ids) == 4
        assert rig.emitter.settled(DAY) == (4, 4)


async def test_only_what_failed_is_tried_again(tmp_path: Path) -> None:
    """
    Of a batch that was handled, only the signal with a passing error goes again.
    """
    tries: list[int] = []

    async def answer(request: pb.IngestBatchRequest) -> pb.IngestBatchResponse:
        tries.append(len(request.items))
        results = [accepted(item.signal.signal_id) for item in request.items]
        if len(tries) == 1:
            results[1] = failed(ABORTED)
        return pb.IngestBatchResponse(results=results)

    async with rigged(tmp_path, FakeIngest(answer)) as rig:
        outcomes = await rig.outcomes(await rig.append(range(3)))
        assert [outcome.status for outcome in outcomes] == [DELIVERED] * 3
        assert tries == [3, 1]


async def test_refusal_of_a_whole_batch_is_split(tmp_path: Path) -> None:
    """
    When a call is refused for one of its signals, that one alone is REJECTED in the end, and no failure is counted.
    """

    async def answer(request: pb.IngestBatchRequest) -> None:
        if any(item.signal.signal_id == signal_id(5) for item in request.items):
            raise fault(Reason.ERROR_REASON_MALFORMED_REQUEST)

    async with rigged(tmp_path, FakeIngest(answer)) as rig:
        outcomes = await rig.outcomes(await rig.append(range(8)))
        assert [at for at, outcome in enumerate(outcomes) if outcome.status == REJECTED] == [5]
        assert [outcome.status for outcome in outcomes].count(DELIVERED) == 7
        assert rig.emitter.view().breaker.consecutive_failures == 0


async def test_riskcast_end_to_end(tmp_path: Path) -> None:
    """
    The real ingest over a store in memory holds what was pushed at its positions; pushed again, the first ack counts.
    """
    from riskcast_server.ingest import Ingest  # noqa: PLC0415 - the far side; nothing of OMEN's own knows it.

    memory = Memory()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_memory(memory))
        server = await stack.enter_async_context(hosted(Ingest(store.signals), service=INGEST))
        async with rigged(tmp_path, FakeIngest(), address=str(server.address)) as rig:
            items = await rig.append(range(20))
            outcomes = await rig.outcomes(items)
            assert [outcome.status for outcome in outcomes] == [DELIVERED] * 20
            assert memory.positions == {(DAY, at + 1): signal_id(at) for at in range(20)}
            again, shared = await asyncio.gather(rig.emitter.push(items[3]), rig.emitter.push(items[3]))
            assert again is shared
            assert (again.status, again.ack_id) == (DUPLICATE, outcomes[3].ack_id)
            assert rig.emitter.view().breaker.consecutive_failures == 0
            assert rig.emitter.settled(DAY) == (20, 20)


async def test_down_means_ledger_only(tmp_path: Path) -> None:
    """
    With RiskCast away a signal becomes LEDGER_ONLY after its attempts, and it says that the reconciler will bring it.
    """

    async def answer(_request: object) -> None:
        raise fault(Reason.ERROR_REASON_STORE_UNAVAILABLE, retry_after_s=0.001)

    async with rigged(tmp_path, FakeIngest(answer)) as rig:
        (outcome,) = await rig.outcomes(await rig.append([1]))
        assert outcome.status == LEDGER_ONLY
        assert "STORE_UNAVAILABLE" in outcome.detail
        assert outcome.detail.endswith("the reconciler will bring it.")
        assert rig.fake.sizes == [1] * 5
        assert rig.emitter.settled(DAY) == (1, 1)


async def test_refused_key_is_not_our_callers(tmp_path: Path) -> None:
    """
    That RiskCast does not know OMEN's key is one attempt and LEDGER_ONLY in words, and no error of OMEN's.
    """
    keys = tmp_path / "keys"
    keys.write_text("omen:ingest:right-key\n")
    keys.chmod(0o600)
    async with rigged(tmp_path / "l", FakeIngest(), api_key="wrong", far={"api_keys_file": keys}) as rig:
        outcomes = await rig.outcomes(await rig.append(range(3)))
        assert {outcome.status for outcome in outcomes} == {LEDGER_ONLY}
        assert outcomes[0].detail.startswith("RiskCast answered UNAUTHENTICATED API_KEY_UNKNOWN")
        assert rig.emitter.view().breaker.consecutive_failures == 1


async def test_ledger_only_when_circuit_open(tmp_path: Path) -> None:
    """
    While the breaker is open everything is LEDGER_ONLY at once, also behind taken places; half-open, one call is made.
    """
    now = [0.0]
    breaker = Breaker(failures_max=1, monotonic=lambda: now[0])
    async with rigged(tmp_path, FakeIngest(), breaker=breaker, calls_max=1, batch_signals_max=1) as rig:
        rig.fake.gate.clear()
        first = await rig.append([0])
        await rig.fake.called.wait()
        waiting = await rig.append(range(1, 30))
        permit = breaker.ask()
        assert permit is not None
        breaker.fail(permit, "says the test")
        late = await rig.append([30])
        outcomes = await rig.outcomes(waiting + late)
        assert {outcome.status for outcome in outcomes} == {LEDGER_ONLY}
        assert "asked again in 30.0 s" in outcomes[-1].detail
        assert len(rig.fake.requests) == 1
        assert rig.emitter.settled(DAY) == (0, 0)
        rig.fake.gate.set()
        await rig.outcomes(first)
        assert rig.emitter.settled(DAY) == (31, 31)
        now[0] += 30.0
        (probe,) = await rig.outcomes(await rig.append([31]))
        assert probe.status == DELIVERED
        assert rig.emitter.view().breaker.state is BreakerState.CLOSED


async def test_overflow_keeps_the_newest(tmp_path: Path) -> None:
    """
    When more waits than may, the oldest are left to the reconciler and counted, and the newest are pushed.
    """
    async with rigged(tmp_path, FakeIngest(), calls_max=1, batch_signals_max=10, queue_signals_max=50) as rig:
        rig.fake.gate.clear()
        first = await rig.append([0])
        await rig.fake.called.wait()
        items = await rig.append(range(1, 1201))
        assert await rig.emitter.outcome(items[0].offset) == OVERFLOW
        rig.fake.gate.set()
        outcomes = await rig.outcomes(first + items)
        assert [outcome.status for outcome in outcomes[1:]] == [LEDGER_ONLY] * 1150 + [DELIVERED] * 50
        assert rig.emitter.view().overflowed == 1150
        assert rig.emitter.settled(DAY) == (1201, 1201)


async def test_drain_leaves_no_waiter(tmp_path: Path) -> None:
    """
    A call in flight may end within the time; what cannot, what waits and what comes later is LEDGER_ONLY and says why.
    """
    async with rigged(tmp_path, FakeIngest(), calls_max=1) as rig:
        rig.fake.gate.clear()
        items = await rig.append([0])
        await rig.fake.called.wait()
        items += await rig.append(range(1, 700))
        waiters = [asyncio.create_task(rig.emitter.outcome(item.offset)) for item in items]
        pushed = asyncio.create_task(rig.emitter.push(items[0]))
        await asyncio.sleep(0)
        await rig.emitter.stop(0.01)
        assert set(await asyncio.gather(*waiters, pushed)) == {STOPPED}
        assert len(rig.told) == 700
        assert await rig.emitter.outcome((await rig.append([700]))[0].offset) == STOPPED
        assert await rig.emitter.push(items[0]) == STOPPED
        assert rig.fake.sizes == [1]


async def test_cancelled_before_it_began(tmp_path: Path) -> None:
    """
    An emitter that is stopped in the moment a call is made leaves nobody without an outcome.
    """
    async with rigged(tmp_path, FakeIngest()) as rig:
        items = await rig.append([1])
        waiter = asyncio.create_task(rig.emitter.outcome(items[0].offset))
        while not rig.emitter._calls:  # noqa: ASYNC110 - the very turn of the loop in which it is made
            await asyncio.sleep(0)
        await rig.emitter.stop(0.0)
        async with asyncio.timeout(30):
            assert (await waiter).status in {LEDGER_ONLY, DELIVERED}


async def test_listener_that_fails_stops_nobody(tmp_path: Path) -> None:
    """
    When whoever listens raises, the outcome reaches its waiter all the same, and the next signal is pushed.
    """
    async with rigged(tmp_path, FakeIngest()) as rig:

        def broken(_done: object) -> None:
            raise ValueError("says the test")

        rig.emitter._told = broken
        for number in range(2):
            (outcome,) = await rig.outcomes(await rig.append([number]))
            assert outcome.status == DELIVERED
        assert rig.emitter.settled(DAY) == (2, 2)


async def test_client_retries_nothing() -> None:
    """
    A client made for the emitter makes one attempt a call, in its loop and in its channel.
    """
    fake = FakeIngest()

    async def answer(_request: object) -> None:
        raise fault(Reason.ERROR_REASON_STORE_UNAVAILABLE, retry_after_s=0.001)

    fake.answer = answer
    async with (
        hosted(fake, service=INGEST) as server,
        RiskCastClient(str(server.address), attempts_max=1) as client,
    ):
        with pytest.raises(Unavailable):
            await client.ingest_batch([pb.IngestBatchItem()], timeout_s=5.0)
    assert len(fake.requests) == 1
