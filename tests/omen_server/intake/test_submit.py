import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen_client import CallError, InvalidRequest, NotFound
from omen_server.desk.errors import DeskUnavailable
from omen_server.desk.price_history import PriceHistory
from omen_server.intake import events as events_module
from omen_server.pipeline.run import Outcome, judge
from riskcast.v1 import ingest_service_pb2
from tests.omen_server.far_side import FakeIngest, ack_of, failed
from tests.omen_server.intake.serving import raw_event, served

RESPONSE_BYTES_MAX = 1 << 20


def results(found: Sequence[pb.EmitResult | CallError]) -> list[Any]:
    """
    Return what became of each: a status, or an error's reason.
    """
    return [each.reason if isinstance(each, CallError) else each.status for each in found]


async def test_event_goes_all_the_way(tmp_path: Path) -> None:
    """
    A raw event becomes a durable signal, and its sender gets RiskCast's ack.
    """
    async with served(tmp_path) as at:
        result = await at.omen.submit(raw_event())
        stored = await at.omen.signal(result.event.signal_id)
    assert result.status == pb.EMIT_STATUS_DELIVERED
    assert result.ack_id == ack_of(result.event.signal_id)
    assert not result.cached
    assert result.event.ledger_offset == 1
    assert stored.event == result.event
    assert at.riskcast.ids == [result.event.signal_id]


async def test_same_event_again_is_cached(tmp_path: Path) -> None:
    """
    The same raw event again, seen at another time, appends nothing and pushes nothing: first event, original ack.
    """
    async with served(tmp_path) as at:
        first = await at.omen.submit(raw_event())
        again = await at.omen.submit(raw_event())
        assert (await at.omen.operations.stats()).events_cached == 1
    assert (again.cached, again.event, again.ack_id, again.duplicate_of_offset) == (True, first.event, first.ack_id, 1)
    assert again.status == pb.EMIT_STATUS_DELIVERED
    assert len(at.riskcast.requests) == 1


async def test_ack_that_is_not_known_here_is_asked_for(tmp_path: Path) -> None:
    """
    After a restart without index the same event is answered with the ack that RiskCast gave at first.
    """
    async with served(tmp_path) as at:
        first = await at.omen.submit(raw_event())
    for file in ("index.db", "index.db-wal", "index.db-shm"):
        (tmp_path / file).unlink(missing_ok=True)
    async with served(tmp_path) as at:
        again = await at.omen.submit(raw_event())
        assert at.ledger.durable_offset == 1
    assert (again.cached, again.event, again.ack_id) == (True, first.event, first.ack_id)


async def test_refused_event_is_filtered_counted_and_listed(tmp_path: Path) -> None:
    """
    What the rules refuse is an answer with their verdicts and no error; nothing is appended, and it can be looked up.
    """
    async with served(tmp_path) as at:
        result = await at.omen.submit(raw_event(market={"liquidity_usd": 999.99}))
        listed = [each async for each in at.omen.operations.rejected()]
        stats = await at.omen.operations.stats()
        assert at.ledger.durable_offset == 0
    assert result.status == pb.EMIT_STATUS_FILTERED
    assert not result.HasField("event")
    assert "999.99" in result.detail or "liquidity" in result.detail.lower()
    assert {each.name for each in result.verdicts} >= {"sanity", "liquidity"}
    assert [(each.rule, each.event.source_event_id) for each in listed] == [("liquidity", "m1")]
    assert (stats.events_filtered, dict(stats.filtered_by_rule)) == (1, {"liquidity": 1})


async def test_validate_only_leaves_nothing(tmp_path: Path) -> None:
    """
    Validating appends nothing, pushes nothing, and leaves no trace among the refused events.
    """
    async with served(tmp_path) as at:
        found = await at.omen.submit_all([raw_event(), raw_event("m2", market={"closed": True})], validate_only=True)
        listed = [each async for each in at.omen.operations.rejected()]
        assert at.ledger.durable_offset == 0
    assert results(found) == [pb.EMIT_STATUS_VALIDATED, pb.EMIT_STATUS_FILTERED]
    assert listed == []
    assert at.riskcast.requests == []


async def test_explanation_is_the_same_now_and_later(tmp_path: Path) -> None:
    """
    What is explained with the submission is what ExplainSignal says of the stored signal.
    """
    async with served(tmp_path) as at:
        result = await at.omen.submit(raw_event(), explain=True)
        later = await at.omen.explain(result.event.signal_id)
        again = await at.omen.submit(raw_event(), explain=True)
    assert result.explanation.confidence.score > 0
    assert later == result.explanation == again.explanation


async def test_batch_keeps_order_and_judges_each(tmp_path: Path) -> None:
    """
    A batch is answered in its order: kept, refused, the same again, kept.
    """
    async with served(tmp_path) as at:
        found = await at.omen.submit_all(
            [raw_event("a"), raw_event("b", market={"archived": True}), raw_event("a"), raw_event("c")]
        )
        assert at.ledger.durable_offset == 2
    delivered, filtered = pb.EMIT_STATUS_DELIVERED, pb.EMIT_STATUS_FILTERED
    assert results(found) == [delivered, filtered, delivered, delivered]
    assert [each.cached for each in found if isinstance(each, pb.EmitResult)] == [False, False, True, False]


async def test_bug_buries_one_event_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An event on which the pipeline fails becomes a dead letter, its neighbours go through, and requeueing ends it.
    """

    def stumbling(reading: Any, *rest: Any, **more: Any) -> Outcome:
        if reading.raw.source_event_id == "b":
            raise ZeroDivisionError("a secret")
        return judge(reading, *rest, **more)

    async with served(tmp_path) as at:
        monkeypatch.setattr(events_module, "judge", stumbling)
        found = await at.omen.submit_all([raw_event("a"), raw_event("b"), raw_event("c")])
        assert results(found) == [pb.EMIT_STATUS_DELIVERED, "EVENT_NOT_JUDGED", pb.EMIT_STATUS_DELIVERED]
        (letter,) = [each async for each in at.omen.operations.dead_letters()]
        assert (letter.stage, letter.event.source_event_id, letter.attempts) == ("pipeline", "b", 1)
        assert letter.dead_letter_id in str(found[1])
        assert "secret" not in str(found[1]) + letter.message
        still = await at.omen.operations.requeue([letter.dead_letter_id])
        (letter,) = [each async for each in at.omen.operations.dead_letters()]
        assert (still.succeeded, still.failed, letter.attempts) == (0, 1, 2)
        monkeypatch.setattr(events_module, "judge", judge)
        cured = await at.omen.operations.requeue(every=True)
        assert (cured.succeeded, cured.failed) == (1, 0)
        assert [each async for each in at.omen.operations.dead_letters()] == []
        assert at.ledger.durable_offset == 3


async def test_prices_that_cannot_be_kept_cost_no_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When the desk does not take an event's price for later ones, its own signal is appended all the same.
    """

    async def fail(_history: PriceHistory, _raws: Sequence[Any], _at: Any) -> None:
        raise DeskUnavailable("says the test")

    monkeypatch.setattr(PriceHistory, "extend", fail)
    async with served(tmp_path) as at:
        assert (await at.omen.submit(raw_event())).status == pb.EMIT_STATUS_DELIVERED


async def test_refused_by_riskcast_is_a_dead_letter(tmp_path: Path) -> None:
    """
    What RiskCast refuses for good is REJECTED and durable, kept as a dead letter, and delivered once it takes it.
    """
    riskcast = FakeIngest()

    async def refuse(request: ingest_service_pb2.IngestBatchRequest) -> ingest_service_pb2.IngestBatchResponse:
        return ingest_service_pb2.IngestBatchResponse(results=[failed(3, "INVALID_FIELDS") for _ in request.items])

    riskcast.answer = refuse
    async with served(tmp_path, riskcast) as at:
        result = await at.omen.submit(raw_event())
        assert (result.status, at.ledger.durable_offset) == (pb.EMIT_STATUS_REJECTED, 1)
        (letter,) = [each async for each in at.omen.operations.dead_letters()]
        assert (letter.stage, letter.signal_id) == ("hot_path", result.event.signal_id)
        riskcast.answer = None
        done = await at.omen.operations.requeue([letter.dead_letter_id])
        assert (done.succeeded, done.failed) == (1, 0)
        stored = await at.omen.signal(result.event.signal_id)
    assert stored.ack_id == ack_of(result.event.signal_id)


async def test_large_batch_answers_within_a_mebibyte(tmp_path: Path) -> None:
    """
    However large the answer would be, it fits: what has no room keeps its envelope and says where to ask.
    """
    text = "Attacks on ships in the Red Sea. " * 40
    async with served(tmp_path) as at:
        events = [raw_event(f"m{number}", description=text) for number in range(450)]
        found = await at.omen.submit_all(events, delivery=pb.DELIVERY_LEDGER, explain=True)
        assert at.ledger.durable_offset == 450
    assert results(found) == [pb.EMIT_STATUS_DURABLE] * 450
    kept = [each for each in found if isinstance(each, pb.EmitResult)]
    assert (
        pb.SubmitEventsResponse(results=[pb.EmitOutcome(result=each) for each in kept]).ByteSize() < RESPONSE_BYTES_MAX
    )
    assert all(each.event.signal_id and each.event.ledger_offset for each in kept)
    assert kept[0].event.HasField("signal")
    cut = [each for each in kept if not each.event.HasField("signal")]
    assert cut
    assert all("GetSignal" in each.detail for each in cut)


async def test_riskcast_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """
    A caller whose deadline is near is told that the signal is durable and the delivery pending, before the deadline.
    """
    riskcast = FakeIngest()
    riskcast.gate.clear()
    async with served(tmp_path, riskcast) as at:
        request = pb.SubmitEventRequest(event=raw_event())
        reply = await at.omen.connection.call(at.omen._signals.SubmitEvent, request, timeout_s=0.5)
        assert (reply.result.status, reply.result.detail) == (pb.EMIT_STATUS_LEDGER_ONLY, "pending")
        at_once = await at.omen.submit(raw_event("m2"), delivery=pb.DELIVERY_LEDGER)
        assert at_once.status == pb.EMIT_STATUS_DURABLE
        riskcast.gate.set()
        assert (await at.omen.submit(raw_event())).status == pb.EMIT_STATUS_DELIVERED


async def test_twenty_at_once(tmp_path: Path) -> None:
    """
    Twenty callers with one raw event at once: one record, one push, one ack for all.
    """
    async with served(tmp_path) as at:
        found = await asyncio.gather(*(at.omen.submit(raw_event()) for _ in range(20)))
        assert at.ledger.durable_offset == 1
    assert len({each.ack_id for each in found}) == 1
    assert sum(each.cached for each in found) == 19
    assert len(at.riskcast.ids) == 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SubmitEventRequest(), "event"),
        (pb.SubmitEventRequest(event=raw_event(), delivery=pb.Delivery.ValueType(9)), "delivery"),
    ],
)
async def test_what_is_wrong_is_named(tmp_path: Path, request_: pb.SubmitEventRequest, field: str) -> None:
    """
    A request that makes no sense is refused with the path of the field.
    """
    async with served(tmp_path) as at:
        with pytest.raises(InvalidRequest) as caught:
            await at.omen.connection.call(at.omen._signals.SubmitEvent, request_)
    assert [each.field for each in caught.value.violations] == [field]


async def test_unknown_signal(tmp_path: Path) -> None:
    """
    A signal that is not there is NOT_FOUND with its id, whatever is asked of it.
    """
    async with served(tmp_path) as at:
        for ask in (at.omen.signal, at.omen.explain, at.omen.verify_signal):
            with pytest.raises(NotFound) as caught:
                await ask("OMEN-NOTHERE")
            assert caught.value.metadata == {"signal_id": "OMEN-NOTHERE"}
