"""
One record for one signal: whoever brings the same again, or at the same time, gets the first one's.

Work that was begun is finished, whether its caller waits or not: an append that nobody waits for is still an append.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Generic, TypeAlias, TypeVar

from omen.v1.signal_pb2 import SignalEvent
from omen.v1.signal_service_pb2 import EmitStatus
from omen_rpc import tracing
from omen_rpc.errors import Reason, fault
from omen_rpc.signal_codec import Prepared
from omen_server.activity import Activity
from omen_server.index import Known, Lookup, Wanted
from omen_server.ledger.entry import Entry
from omen_server.ledger.errors import LedgerError, LedgerWriteError
from omen_server.ledger.ledger import Ledger
from omen_server.stats import Stats
from omen_server.tail import Committed, Tail, decoded, stamped

Told = TypeVar("Told")
UNINDEXED_MAX = 100_000
BEHIND_RETRY_S = 1.0
# So many records of one signal are passed over, lost to damage or to retention, and no further one is looked for.
LOST_MAX = 8


@dataclass(frozen=True, slots=True)
class Draft:
    """
    A signal that lacks only its place in the ledger.
    """

    event: SignalEvent
    record: Prepared


@dataclass(frozen=True, slots=True)
class Kept:
    """
    A signal that the ledger holds; `cached` when it was there before, `status` and `ack_id` as far as was known then.
    """

    item: Committed
    cached: bool = False
    status: EmitStatus.ValueType = EmitStatus.EMIT_STATUS_UNSPECIFIED
    ack_id: str = ""


# What becomes of one signal: it is kept, whoever makes drafts has something else to tell, or it failed.
Result: TypeAlias = Kept | Told | Exception
Make: TypeAlias = Callable[[Sequence[Wanted]], Awaitable[Sequence[Draft | Told | Exception]]]


class Keeper(Generic[Told]):
    """
    Appends each signal once. It owns what is between the ledger and the index: appended, and not found there yet.
    """

    def __init__(
        self,
        ledger: Ledger,
        tail: Tail,
        lookup: Lookup,
        indexed_offset: Callable[[], int],
        *,
        stats: Stats,
        activity: Activity,
        unindexed_max: int = UNINDEXED_MAX,
    ) -> None:
        self._ledger = ledger
        self._tail = tail
        self._lookup = lookup
        self._indexed_offset = indexed_offset
        self._stats = stats
        self._activity = activity
        self._unindexed_max = unindexed_max
        # Up to here the index is relied on. It answers nothing while it is behind that, as when it is made anew.
        self._relied_on = indexed_offset()
        self._open: dict[Wanted, asyncio.Future[Result[Told]]] = {}
        self._unindexed: dict[Wanted, Known] = {}
        self._order: deque[tuple[int, Wanted]] = deque()
        self._works: set[asyncio.Task[None]] = set()

    async def keep(self, wanted: Sequence[Wanted], make: Make[Told]) -> list[Result[Told]]:
        """
        Return what becomes of each of *wanted*, in order; *make* is asked for the drafts of those that are not known.
        """
        self._let_go()
        waiting = len(self._unindexed) + len(self._open) + len(wanted)
        if waiting > self._unindexed_max:
            raise index_behind(self._unindexed_max)
        futures: list[asyncio.Future[Result[Told]]] = []
        mine: dict[Wanted, asyncio.Future[Result[Told]]] = {}
        for each in wanted:
            future = self._open.get(each)
            if future is None:
                future = self._open[each] = mine[each] = asyncio.get_running_loop().create_future()
            futures.append(future)
        if mine:
            work = asyncio.create_task(self._work(mine, make))
            self._works.add(work)
            work.add_done_callback(self._works.discard)
        results: list[Result[Told]] = []
        seen: set[Wanted] = set()
        for each, future in zip(wanted, futures, strict=True):
            result = await asyncio.shield(future) if not future.done() else future.result()
            is_first = each in mine and each not in seen
            seen.add(each)
            results.append(result if is_first or not isinstance(result, Kept) else replace(result, cached=True))
        return results

    async def close(self) -> None:
        """
        Wait for the work that is under way.
        """
        await asyncio.gather(*self._works, return_exceptions=True)

    async def read(self, known: Sequence[Known]) -> dict[int, Committed]:
        """
        Return what the ledger holds at known places, by offset. Places that cannot be read any more are not there.

        What the index says is checked against the record: a damaged index must not give one signal for another.
        """
        found: dict[int, Committed] = {}
        ids = {each.offset: each.signal_id for each in known}
        places: dict[str, list[int]] = {}
        for each in known:
            held = self._tail.after(each.offset - 1, 1)
            if held:
                found[each.offset] = held[0]
            elif each.partition in self._ledger.names():
                places.setdefault(each.partition, []).append(each.ledger_index)
        for partition, indexes in places.items():
            async for batch in self._ledger.read_partition(partition, indexes=indexes):
                for item in await asyncio.to_thread(decoded, batch):
                    if isinstance(item, Committed) and ids.get(item.offset) == item.event.signal_id:
                        found[item.offset] = item
        return found

    async def first(self, wanted: Sequence[Wanted]) -> dict[Wanted, tuple[Known, Committed]]:
        """
        Return of each of *wanted* the first record that can be read, where the index has one.
        """
        found: dict[Wanted, tuple[Known, Committed]] = {}
        asked = {each: each for each in wanted}
        for _ in range(LOST_MAX):
            if not asked:
                break
            answers = await self._lookup.find(list(asked.values()), self._relied_on)
            known = {each: answer for each, answer in zip(asked, answers, strict=True) if answer is not None}
            items = await self.read(list(known.values())) if known else {}
            found.update((each, (at, items[at.offset])) for each, at in known.items() if at.offset in items)
            asked = {
                each: replace(each, after_offset=at.offset) for each, at in known.items() if at.offset not in items
            }
        return found

    async def is_deleted(self, known: Known) -> bool:
        """
        Tell whether retention has deleted what was at a known place, as it may.
        """
        return await self._ledger.is_deleted(known.offset - 1)

    def _let_go(self) -> None:
        """
        Forget what the index finds by now.
        """
        indexed = self._indexed_offset()
        while self._order and self._order[0][0] <= indexed:
            offset, wanted = self._order.popleft()
            self._relied_on = max(self._relied_on, offset)
            # A later record of the same signal stays: what it was kept in the place of could not be read any more.
            if self._unindexed[wanted].offset == offset:
                del self._unindexed[wanted]

    async def _work(self, mine: Mapping[Wanted, asyncio.Future[Result[Told]]], make: Make[Told]) -> None:
        try:
            results = await self._found(list(mine))
            missing = [each for each in mine if each not in results]
            if missing:
                drafts: dict[Wanted, Draft] = {}
                for each, made in zip(missing, await make(missing), strict=True):
                    if isinstance(made, Draft):
                        drafts[each] = made
                    else:
                        results[each] = made
                results.update(await self._append(drafts))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is everybody's answer who waits for these
            results = dict.fromkeys(mine, error)
        finally:
            for each in mine:
                del self._open[each]
        for each, future in mine.items():
            future.set_result(results[each])

    async def _found(self, wanted: Sequence[Wanted]) -> dict[Wanted, Result[Told]]:
        """
        Return what the ledger has. A record that can no longer be read counts as none: its signal is appended anew.
        """
        recent = {each: self._unindexed[each] for each in wanted if each in self._unindexed}
        items = await self.read(list(recent.values())) if recent else {}
        found = {each: (known, items[known.offset]) for each, known in recent.items() if known.offset in items}
        found.update(await self.first([each for each in wanted if each not in found]))
        return {
            each: Kept(item, cached=True, status=EmitStatus.ValueType(known.status), ack_id=known.ack_id)
            for each, (known, item) in found.items()
        }

    async def _append(self, drafts: Mapping[Wanted, Draft]) -> dict[Wanted, Result[Told]]:
        """
        Append drafts, each day's on its own: what is refused of one day takes nothing of another with it.
        """
        days: dict[date, dict[Wanted, Draft]] = {}
        for each, draft in drafts.items():
            days.setdefault(draft.event.emitted_at.ToDatetime(UTC).date(), {})[each] = draft
        results: dict[Wanted, Result[Told]] = {}
        for appended in await asyncio.gather(*(self._append_day(day) for day in days.values())):
            results.update(appended)
        return results

    async def _append_day(self, drafts: Mapping[Wanted, Draft]) -> dict[Wanted, Result[Told]]:
        results: dict[Wanted, Result[Told]] = {}
        try:
            entries = [Entry(emitted_at_of(draft.event), draft.record) for draft in drafts.values()]
            with tracing.span("ledger append"):
                positions = await self._ledger.append(entries)
        except LedgerError as error:
            # What comes before the failure in one day's order is durable, and its followers will read it.
            positions = list(error.durable) if isinstance(error, LedgerWriteError) else []
            results.update(dict.fromkeys(list(drafts)[len(positions) :], error))
        # Nothing is awaited between the append and here: the followers that it has woken find the signals at hand.
        items = [
            stamped(draft.event, draft.record, position)
            for draft, position in zip(drafts.values(), positions, strict=False)
        ]
        self._tail.offer(items)
        self._tell(items, len(drafts))
        for each, item in zip(drafts, items, strict=False):
            self._unindexed[each] = known_of(item)
            self._order.append((item.offset, each))
            results[each] = Kept(item)
        return results

    def _tell(self, items: Sequence[Committed], wanted: int) -> None:
        """
        Count what was appended and what was not, and note it where people look.
        """
        self._stats.appended(len(items))
        if len(items) < wanted:
            self._stats.not_appended(wanted - len(items))
        if items:
            last, title = items[-1].position, items[-1].event.signal.title
            text = f"{len(items)} signals are durable." if len(items) > 1 else f"“{title}” is durable."
            signal_id = items[-1].event.signal_id if len(items) == 1 else ""
            self._activity.tell("emitted", text, signal_id=signal_id, partition=last.partition)


def emitted_at_of(event: SignalEvent) -> datetime:
    """
    Return when a signal was emitted.
    """
    return event.emitted_at.ToDatetime(UTC)


def known_of(item: Committed) -> Known:
    """
    Return what the index will say of a record that has just been appended.
    """
    event, position = item.event, item.position
    return Known(
        offset=position.offset,
        partition=position.partition,
        ledger_index=position.index,
        signal_id=event.signal_id,
        input_event_hash=event.input_event_hash,
        content_digest=event.content_digest,
        status=EmitStatus.EMIT_STATUS_UNSPECIFIED,
        ack_id="",
    )


def index_behind(limit: int) -> Exception:
    """
    Make the error for a signal that nobody could tell from one that is there already.
    """
    return fault(
        Reason.ERROR_REASON_OVERLOADED,
        f"{limit} signals wait for the index, as many as may be.",
        metadata={"limit": limit, "limit_name": "unindexed_max", "retry_after_s": BEHIND_RETRY_S},
        retry_after_s=BEHIND_RETRY_S,
    )
