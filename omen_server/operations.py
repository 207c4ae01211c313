"""
OperationsService: what an operator looks at, and what he decides on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

import structlog
from google.protobuf.message import Message

from omen.v1 import operations_service_pb2 as pb
from omen.v1.operations_service_pb2_grpc import OperationsServiceServicer
from omen_rpc.fields import Fields
from omen_rpc.paging import ITEMS_BYTES_MAX, item_bytes, page_number, page_size, page_token
from omen_server import operations_messages as messages
from omen_server.activity import Activity
from omen_server.breaker import BreakerView
from omen_server.desk.desk import Desk
from omen_server.hot_path import HotPathView
from omen_server.ledger.ledger import Ledger
from omen_server.ledger_size import LedgerSize
from omen_server.stats import Stats

PAGE_SIZE, PAGE_SIZE_MAX = 100, 500
IDS_MAX = 500
RULE_CHARS_MAX = 100

Answer = TypeVar("Answer")
Item = TypeVar("Item", bound=Message)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Requeued:
    """
    What came of trying dead letters again.
    """

    succeeded: int
    failed: int


# Tries these letters again: forgets those that went through, counts an attempt for the others. At most 500 at a time.
Requeue: TypeAlias = Callable[[Sequence[str]], Awaitable[Requeued]]
Decision: TypeAlias = pb.RequeueDeadLettersRequest | pb.PurgeDeadLettersRequest


@dataclass(frozen=True, slots=True)
class Operated:
    """
    All that the service tells of and acts on. `subscribers` are by numbers that grow with time.
    """

    desk: Desk
    activity: Activity
    stats: Stats
    ledger: Ledger
    hot_path: Callable[[], HotPathView]
    subscribers: Callable[[], Mapping[int, pb.Subscriber]]
    sources: Callable[[], Mapping[str, BreakerView]]
    requeue: Requeue
    signals_today: Callable[[], Awaitable[int]]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Operations(OperationsServiceServicer):
    """
    Answers for what it was given by `begin`. The gate lets no call in before that.
    """

    def __init__(self) -> None:
        self._operated: Operated
        self._size: LedgerSize
        self._works: set[asyncio.Task[Any]] = set()
        self._deciding = asyncio.Lock()
        self._closing = False

    def begin(self, operated: Operated) -> None:
        """
        Answer for *operated* from now on.
        """
        self._size = LedgerSize(operated.ledger)
        self._operated = operated

    async def close(self) -> None:
        """
        Wait for what goes on although its caller may have gone. Of all letters no further batch is begun.
        """
        self._closing = True
        await asyncio.gather(*self._works, return_exceptions=True)

    async def GetStats(self, _request: pb.GetStatsRequest, _context: object) -> pb.GetStatsResponse:
        """
        Count what has been done.
        """
        operated, stats = self._operated, self._operated.stats
        records, size_bytes = await self._size()
        return pb.GetStatsResponse(
            started_at=messages.moment(stats.started_at),
            events_received=stats.events_received,
            events_processed=stats.events_processed,
            events_cached=stats.events_cached,
            events_filtered=stats.events_filtered,
            filtered_by_rule=stats.filtered_by_rule,
            signals_appended=stats.signals_appended,
            append_failures=stats.append_failures,
            signals_by_status=stats.signals_by_status,
            dead_letters=operated.desk.dead_letters.count,
            ledger_records=records,
            ledger_bytes=size_bytes,
            free_bytes=operated.ledger.free_bytes,
            written_offset=operated.ledger.written_offset,
            durable_offset=operated.ledger.durable_offset,
            settled_offset=operated.hot_path().settled_offset,
            signals_today=await operated.signals_today(),
            append_success_ratio=stats.append_success_ratio,
        )

    async def ListActivity(self, request: pb.ListActivityRequest, _context: object) -> pb.ListActivityResponse:
        """
        List what happened lately.
        """
        size, place = page_size(request, PAGE_SIZE, PAGE_SIZE_MAX), page_number(request)
        found = self._operated.activity.page(place, size + 1)
        items = [(each.number, messages.activity_message(each)) for each in found]
        reply = pb.ListActivityResponse()
        reply.next_page_token = fill(reply.activities, items, request, size)
        return reply

    async def GetHotPath(self, _request: pb.GetHotPathRequest, _context: object) -> pb.GetHotPathResponse:
        """
        Describe the hot path.
        """
        operated = self._operated
        return messages.hot_path_message(
            operated.hot_path(), operated.sources(), operated.ledger.durable_offset, operated.now()
        )

    async def ListSubscribers(self, request: pb.ListSubscribersRequest, _context: object) -> pb.ListSubscribersResponse:
        """
        List who is subscribed, in the order they came.
        """
        size, after = page_size(request, PAGE_SIZE, PAGE_SIZE_MAX), page_number(request)
        items = sorted((item for item in self._operated.subscribers().items() if item[0] > after), key=itemgetter(0))
        reply = pb.ListSubscribersResponse()
        reply.next_page_token = fill(reply.subscribers, items, request, size)
        return reply

    async def ListRejected(self, request: pb.ListRejectedRequest, _context: object) -> pb.ListRejectedResponse:
        """
        List raw events that the rules refused.
        """
        fields = Fields(request)
        if request.rule:
            fields.text("rule", RULE_CHARS_MAX)
        fields.check()
        size, before = page_size(request, PAGE_SIZE, PAGE_SIZE_MAX), page_number(request)
        items = await self._operated.desk.rejected.page(before, request.rule, size + 1)
        reply = pb.ListRejectedResponse()
        for _, record in items:
            messages.fit(record)
        reply.next_page_token = fill(reply.rejected, items, request, size)
        return reply

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, _context: object) -> pb.ListDeadLettersResponse:
        """
        List what could not be finished.
        """
        size, after = page_size(request, PAGE_SIZE, PAGE_SIZE_MAX), page_number(request)
        letters = self._operated.desk.dead_letters
        items = [(each.number, messages.letter_message(each)) for each in await letters.page(after, size + 1)]
        reply = pb.ListDeadLettersResponse(total=letters.count)
        reply.next_page_token = fill(reply.dead_letters, items, request, size)
        return reply

    async def RequeueDeadLetters(
        self, request: pb.RequeueDeadLettersRequest, _context: object
    ) -> pb.RequeueDeadLettersResponse:
        """
        Try letters again. It goes on when the caller goes away.
        """
        return await self._going_on(self._requeue(decided(request), everything=request.all))

    async def PurgeDeadLetters(
        self, request: pb.PurgeDeadLettersRequest, _context: object
    ) -> pb.PurgeDeadLettersResponse:
        """
        Forget letters. The ledger keeps every signal among them.
        """
        return await self._going_on(self._purge(decided(request), everything=request.all))

    async def _requeue(self, ids: Sequence[str], *, everything: bool) -> pb.RequeueDeadLettersResponse:
        letters, reply = self._operated.desk.dead_letters, pb.RequeueDeadLettersResponse()
        if everything:
            async for batch in letters.ids():
                if self._closing:
                    break
                await self._requeue_batch(batch, reply)
        else:
            # Unknown ids are told before anything is tried.
            await letters.check(ids)
            await self._requeue_batch(ids, reply)
        text = f"{reply.succeeded} dead letters went through, {reply.failed} failed again."
        self._operated.activity.tell("requeued", text)
        return reply

    async def _requeue_batch(self, ids: Sequence[str], reply: pb.RequeueDeadLettersResponse) -> None:
        found = await self._operated.requeue(ids)
        reply.succeeded += found.succeeded
        reply.failed += found.failed

    async def _purge(self, ids: Sequence[str], *, everything: bool) -> pb.PurgeDeadLettersResponse:
        letters = self._operated.desk.dead_letters
        if everything:
            purged = await letters.forget_all()
        else:
            # Unknown ids are told before anything is forgotten.
            await letters.check(ids)
            purged = await letters.forget(ids)
        self._operated.activity.tell("purged", f"{purged} dead letters were forgotten.")
        return pb.PurgeDeadLettersResponse(purged=purged)

    async def _going_on(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """
        Finish *work* also when its caller goes away, one after the other: nobody's letters are tried twice at once.
        """

        async def in_turn() -> Answer:
            async with self._deciding:
                return await work

        task = asyncio.create_task(in_turn())
        self._works.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._works.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("operation_failed", error=type(error).__name__, text=str(error))


def decided(request: Decision) -> list[str]:
    """
    Return the ids that a decision is about, each once; none for one about all of them.
    """
    fields = Fields(request)
    ids = request.dead_letter_ids
    if fields.require(len(ids) <= IDS_MAX, "dead_letter_ids", f"holds {len(ids)}; at most {IDS_MAX} may be"):
        fields.require(not (ids and request.all), "dead_letter_ids", "must be empty when all are meant")
        fields.require(bool(ids) or request.all, "dead_letter_ids", "must name letters, unless all are meant")
    fields.check()
    return list(dict.fromkeys(ids))


def fill(place: MutableSequence[Item], items: Iterable[tuple[int, Item]], request: Message, size_max: int) -> str:
    """
    Put numbered messages into a reply as far as there is room, and return the token of what follows them.
    """
    room, last = ITEMS_BYTES_MAX, 0
    for number, message in items:
        room -= item_bytes(message)
        if place and (len(place) >= size_max or room < 0):
            return page_token(request, str(last))
        place.append(message)
        last = number
    return ""
