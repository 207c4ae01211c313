import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from omen.v1 import operations_service_pb2 as pb
from omen.v1 import signal_service_pb2
from omen_server.desk.dead_letters import of_event
from omen_server.operations import Operations, Requeued
from tests.hosting import refusal, until
from tests.ledgers import entries
from tests.omen_server.desk.outcomes import refusal as refused_by_rules
from tests.omen_server.operated import NOW, operated, refused
from tests.omen_server.pipeline.raw_events import market

RESPONSE_BYTES_MAX = 1 << 20


async def pages(method: Any, request: Any, name: str) -> list[list[Any]]:
    """
    Return every page of a list.
    """
    found = []
    while True:
        reply = await method(request)
        assert reply.ByteSize() <= RESPONSE_BYTES_MAX
        found.append(list(getattr(reply, name)))
        if not reply.next_page_token:
            return found
        request.page_token = reply.next_page_token


async def test_stats(tmp_path: Path) -> None:
    """
    GetStats tells the counters of the process, what the ledger holds, and how far each part is.
    """
    async with operated(tmp_path) as served:
        await served.ledger.append(entries(range(1, 6)))
        await served.keep(refused(1))
        served.stats.received(9)
        served.stats.filtered("semantic")
        served.stats.appended(5)
        served.stats.settled(signal_service_pb2.EMIT_STATUS_DELIVERED, 4)
        reply = await served.stub.GetStats(pb.GetStatsRequest())
    assert reply.started_at.ToDatetime(NOW.tzinfo) == NOW
    assert (reply.events_received, reply.events_filtered, reply.signals_appended) == (9, 1, 5)
    assert dict(reply.filtered_by_rule) == {"semantic": 1}
    assert dict(reply.signals_by_status) == {"DELIVERED": 4}
    assert (reply.dead_letters, reply.ledger_records, reply.signals_today) == (1, 5, 3)
    assert reply.ledger_bytes > 0
    assert reply.free_bytes > 0
    assert (reply.written_offset, reply.durable_offset, reply.settled_offset) == (5, 5, 41)
    assert reply.append_success_ratio == 1.0


async def test_activity_in_pages(tmp_path: Path) -> None:
    """
    What happened comes newest first, a page at a time.
    """
    async with operated(tmp_path) as served:
        for at in range(5):
            served.activity.tell("emitted", f"Number {at}.", signal_id=f"OMEN-{at:04}")
        found = await pages(served.stub.ListActivity, pb.ListActivityRequest(page_size=2), "activities")
    assert [[each.text for each in page] for page in found] == [
        ["Number 4.", "Number 3."],
        ["Number 2.", "Number 1."],
        ["Number 0."],
    ]
    assert (found[0][0].kind, found[0][0].signal_id) == ("emitted", "OMEN-0004")
    assert found[0][0].at.ToDatetime(NOW.tzinfo) == NOW


async def test_hot_path(tmp_path: Path) -> None:
    """
    GetHotPath tells the breakers, sources by name, the queue and the offsets.
    """
    async with operated(tmp_path) as served:
        reply = await served.stub.GetHotPath(pb.GetHotPathRequest())
    assert (reply.riskcast.name, reply.riskcast.state) == ("riskcast", pb.BREAKER_STATE_OPEN)
    assert (reply.riskcast.consecutive_failures, reply.riskcast.last_failure) == (5, "status 503")
    assert reply.riskcast.retry_after.ToTimedelta() == timedelta(seconds=12.5)
    assert reply.riskcast.changed_at.ToDatetime(NOW.tzinfo) == NOW - timedelta(seconds=17.5)
    assert [(each.name, each.state) for each in reply.sources] == [
        ("nws", pb.BREAKER_STATE_OPEN),
        ("usgs", pb.BREAKER_STATE_CLOSED),
    ]
    assert reply.backpressure_delay.ToTimedelta() == timedelta(seconds=4)
    assert (reply.queue_length, reply.queue_length_max, reply.calls_in_flight, reply.overflowed) == (7, 1000, 2, 5)
    assert (reply.settled_offset, reply.durable_offset) == (41, 0)


async def test_subscribers_in_pages(tmp_path: Path) -> None:
    """
    Subscribers come in the order they came, also when one leaves between two pages.
    """
    async with operated(tmp_path) as served:
        for number in (12, 3, 7, 9):
            served.subscribers[number] = pb.Subscriber(peer=f"peer {number}")
        request = pb.ListSubscribersRequest(page_size=2)
        first = await served.stub.ListSubscribers(request)
        del served.subscribers[7]
        request.page_token = first.next_page_token
        rest = await served.stub.ListSubscribers(request)
    assert [each.peer for each in (*first.subscribers, *rest.subscribers)] == ["peer 3", "peer 7", "peer 9", "peer 12"]
    assert rest.next_page_token == ""


async def test_rejected_by_rule(tmp_path: Path) -> None:
    """
    Refused events come newest first with their verdicts, of one rule where one is named.
    """
    outcome = refused_by_rules()
    async with operated(tmp_path) as served:
        for at in range(3):
            served.desk.rejected.keep(market("Euro 2028 winner", source_event_id=f"e{at}"), outcome, NOW)
        found = await pages(served.stub.ListRejected, pb.ListRejectedRequest(page_size=2, rule="semantic"), "rejected")
        none = await served.stub.ListRejected(pb.ListRejectedRequest(rule="geographic"))
        odd = await refusal(served.stub.ListRejected(pb.ListRejectedRequest(rule="a\nb")))
    assert [[each.event.source_event_id for each in page] for page in found] == [["e2", "e1"], ["e0"]]
    assert (found[0][0].rule, list(found[0][0].verdicts)) == ("semantic", list(outcome.verdicts))
    assert not none.rejected
    assert odd.reason == "INVALID_FIELDS"


async def test_dead_letters_in_pages(tmp_path: Path) -> None:
    """
    Dead letters come oldest first, whole, and every page fits into a reply whatever their size.
    """
    large = [market(source_event_id=f"m{at}", description="x" * 300_000) for at in range(6)]
    async with operated(tmp_path) as served:
        ids = await served.keep(refused(1), *(of_event(raw, "INTERNAL", "A bug.") for raw in large))
        found = await pages(served.stub.ListDeadLetters, pb.ListDeadLettersRequest(), "dead_letters")
        reply = await served.stub.ListDeadLetters(pb.ListDeadLettersRequest(page_size=1))
    letters = [letter for page in found for letter in page]
    assert [letter.dead_letter_id for letter in letters] == ids
    assert [len(page) for page in found] == [4, 3]
    assert (letters[0].stage, letters[0].signal_id, letters[0].reason) == (
        "hot_path",
        "OMEN-TEST000001",
        "INVALID_FIELDS",
    )
    assert [letter.event for letter in letters[1:]] == large
    assert (letters[1].stage, letters[1].attempts, letters[1].at.ToDatetime(NOW.tzinfo)) == ("pipeline", 1, NOW)
    assert reply.total == 7


async def test_one_letter_too_large_for_a_reply(tmp_path: Path) -> None:
    """
    An event that would fill a reply by itself is listed without its longest parts, and the list goes on behind it.
    """
    raw = market(description="x" * (1 << 20))
    async with operated(tmp_path) as served:
        await served.keep(of_event(raw, "INTERNAL", "A bug."), refused(1))
        found = await pages(served.stub.ListDeadLetters, pb.ListDeadLettersRequest(), "dead_letters")
        [kept] = await served.desk.dead_letters.page(0, 1)
    letters = [letter for page in found for letter in page]
    assert (letters[0].event.title, letters[0].event.description) == (raw.title, "")
    assert letters[1].signal_id == "OMEN-TEST000001"
    assert kept.raw == raw


async def test_requeue_by_ids(tmp_path: Path) -> None:
    """
    Requeueing tells how many went through; the others stay with an attempt more. An id twice is one.
    """
    async with operated(tmp_path) as served:
        ids = await served.keep(refused(1), refused(2), refused(3))
        served.intake.failing = {ids[1]}
        reply = await served.stub.RequeueDeadLetters(
            pb.RequeueDeadLettersRequest(dead_letter_ids=[ids[0], ids[1], ids[0]])
        )
        left = await served.desk.dead_letters.page(0, 9)
    assert (reply.succeeded, reply.failed) == (1, 1)
    assert served.intake.asked == [ids[:2]]
    assert [(each.dead_letter_id, each.attempts) for each in left] == [(ids[1], 2), (ids[2], 1)]


async def test_requeue_all(tmp_path: Path) -> None:
    """
    All are tried once, in batches of no more than 500.
    """
    async with operated(tmp_path) as served:
        ids = await served.keep(*(refused(number) for number in range(501)))
        served.intake.failing = {ids[0]}
        reply = await served.stub.RequeueDeadLetters(pb.RequeueDeadLettersRequest(all=True))
        assert served.desk.dead_letters.count == 1
    assert (reply.succeeded, reply.failed) == (500, 1)
    assert [len(batch) for batch in served.intake.asked] == [500, 1]


async def test_purge(tmp_path: Path) -> None:
    """
    Purging forgets the letters named, or all, and leaves the ledger as it is.
    """
    async with operated(tmp_path) as served:
        await served.ledger.append(entries([1]))
        ids = await served.keep(*(refused(number) for number in range(5)))
        one = await served.stub.PurgeDeadLetters(pb.PurgeDeadLettersRequest(dead_letter_ids=ids[:1]))
        rest = await served.stub.PurgeDeadLetters(pb.PurgeDeadLettersRequest(all=True))
        none = await served.stub.PurgeDeadLetters(pb.PurgeDeadLettersRequest(all=True))
        assert (await served.ledger.size())[0] == 1
        assert [each.kind for each in served.activity.page(0, 9)] == ["purged"] * 3
    assert (one.purged, rest.purged, none.purged) == (1, 4, 0)


@pytest.mark.parametrize("name", ["RequeueDeadLetters", "PurgeDeadLetters"])
async def test_decisions_that_are_none(tmp_path: Path, name: str) -> None:
    """
    Unknown ids, too many, none at all, and ids beside all of them are refused before anything is done.
    """
    async with operated(tmp_path) as served:
        ids = await served.keep(refused(1))
        method, kind = getattr(served.stub, name), getattr(pb, f"{name}Request")
        for wrong in (
            kind(),
            kind(all=True, dead_letter_ids=ids),
            kind(dead_letter_ids=[f"DL-{number:010X}" for number in range(501)]),
        ):
            assert (await refusal(method(wrong))).reason == "INVALID_FIELDS"
        for unknown in ("DL-00000000FF", "nonsense"):
            error = await refusal(method(kind(dead_letter_ids=[*ids, unknown])))
            assert (error.reason, error.metadata) == ("DEAD_LETTER_NOT_FOUND", {"dead_letter_id": unknown})
        assert served.desk.dead_letters.count == 1
        assert served.intake.asked == []


class Slow:
    """
    An intake that takes its time.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, ids: Sequence[str]) -> Requeued:
        """
        Wait until the test says go.
        """
        self.begun += ids
        await self.go.wait()
        self.ended += ids
        return Requeued(len(ids), 0)


async def test_requeue_goes_on_without_its_caller(tmp_path: Path) -> None:
    """
    A caller who goes away does not leave letters half tried, and a second requeue waits for the first.
    """
    slow = Slow()
    async with operated(tmp_path, intake=slow) as served:
        ids = await served.keep(refused(1), refused(2))
        call = served.stub.RequeueDeadLetters(pb.RequeueDeadLettersRequest(dead_letter_ids=ids[:1]))
        await until(lambda: bool(slow.begun))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        second = asyncio.ensure_future(
            served.stub.RequeueDeadLetters(pb.RequeueDeadLettersRequest(dead_letter_ids=ids[1:]))
        )
        await served.stub.GetHotPath(pb.GetHotPathRequest())
        assert (slow.begun, slow.ended) == (ids[:1], [])
        slow.go.set()
        assert (await second).succeeded == 1
    assert slow.ended == ids


async def test_closing_ends_a_requeue_of_all_between_batches(tmp_path: Path) -> None:
    """
    A server that stops finishes the batch at hand and begins no other.
    """
    slow = Slow()
    async with operated(tmp_path, intake=slow) as served:
        await served.keep(*(refused(number) for number in range(501)))
        call = served.stub.RequeueDeadLetters(pb.RequeueDeadLettersRequest(all=True))
        await until(lambda: bool(slow.begun))
        closing = asyncio.create_task(served.service.close())
        await asyncio.sleep(0)
        slow.go.set()
        await closing
        assert (await call).succeeded == 500


async def test_tokens_belong_to_their_request(tmp_path: Path) -> None:
    """
    A token of one list is none of another, nor of the same under another filter.
    """
    async with operated(tmp_path) as served:
        for at in range(3):
            served.activity.tell("emitted", f"{at}")
        token = (await served.stub.ListActivity(pb.ListActivityRequest(page_size=1))).next_page_token
        assert token
        for call in (
            served.stub.ListDeadLetters(pb.ListDeadLettersRequest(page_token=token)),
            served.stub.ListRejected(pb.ListRejectedRequest(page_token=token)),
            served.stub.ListSubscribers(pb.ListSubscribersRequest(page_token=token)),
        ):
            assert (await refusal(call)).reason == "PAGE_TOKEN_INVALID"


def test_served_has_all_of_the_service() -> None:
    """
    No method of the contract is left to the generated code.
    """
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["OperationsService"].methods}
    assert methods == {name for name in vars(Operations) if name[0].isupper()}
