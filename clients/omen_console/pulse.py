"""
What every page shows of the three servers at a glance, read at most twice a second however many pages are open.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Final, TypeVar

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen.v1 import operations_service_pb2 as operations_pb
from omen_console.asking import KEPT, PATIENCE_S, Asking, asking
from omen_console.upstream import COUNTING, Answer, Trouble, Upstream
from reconcile.v1 import reconcile_service_pb2 as reconcile_pb
from riskcast.v1 import inventory_service_pb2 as inventory_pb

Value = TypeVar("Value")

FRESH_S: Final = 0.45
RATE_WINDOW_S: Final = 10.0
SAMPLES_MAX: Final = 64
LOOKED_AT: Final = 8
# Comparing a day costs RiskCast some time when very much is missing: it spends no more than a tenth of its own on us.
DAY_SHARE: Final = 10.0
DAY_WAIT_MAX_S: Final = 5.0
# The first comparison of a large day reads all of it, on both sides. It is one at a time, and no page waits for it.
COMPARING_MAX_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Day:
    """
    One day on both sides: today, or the newest there is. `partition` is its main one; late arrivals count as well.
    """

    partition: str
    is_today: bool
    has_late: bool
    ledger: int
    is_sealed: bool
    stored: Answer[int]

    @property
    def missing(self) -> int | None:
        """
        How many signals RiskCast lacks; None when it does not say.
        """
        return None if self.stored.value is None else max(0, self.ledger - self.stored.value)


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One look at the servers.
    """

    at: datetime
    stats: Answer[operations_pb.GetStatsResponse]
    hot_path: Answer[operations_pb.GetHotPathResponse]
    store: Answer[inventory_pb.GetIngestStatsResponse]
    overview: Answer[reconcile_pb.ListPartitionStatesResponse]
    day: Answer[Day | None]
    per_second: float | None

    @property
    def is_asking(self) -> bool:
        """
        Whether figures are still under way.
        """
        return any(each.is_asking for each in (self.stats, self.hot_path, self.store, self.overview, self.day))

    def state(self, server: str) -> str:
        """
        Return how a server is, in a word.
        """
        answers: dict[str, Answer[object]] = {
            "omen": self.stats,
            "riskcast": self.store,
            "reconciler": self.overview,
        }
        trouble = answers[server].trouble
        return "up" if trouble is None else trouble.state


class Pulse:
    """
    Takes readings, and shares each with whoever asks soon after.
    """

    def __init__(self, upstream: Upstream, asking: Asking, clock: Callable[[], float] = monotonic) -> None:
        self._upstream = upstream
        self._clock = clock
        self._turn = asyncio.Lock()
        self._last: Reading | None = None
        self._began_s = self._ended_s = float("-inf")
        self._day_due_s = self._weighed_s = float("-inf")
        self._asking = asking
        self._weighing: asyncio.Task[Answer[Day | None]] | None = None
        self._begun: Day | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES_MAX)

    async def read(self, *, anew: bool = False) -> Reading:
        """
        Return a reading that is less than half a second old; a new one when something was just done.
        """
        asked_s = self._clock()
        async with self._turn:
            # Whoever waited for one that took long is given that one: a server that hangs must not cost its deadline
            # once for every page that is open.
            fresh = self._began_s >= asked_s if anew else self._clock() - self._ended_s < FRESH_S
            if self._last is None or not fresh:
                self._began_s = self._clock()
                self._last = await self._take(anew=anew)
                self._ended_s = self._clock()
            return self._last

    async def close(self) -> None:
        """
        Leave the comparison that is under way.
        """
        if self._weighing is not None:
            self._weighing.cancel()
            await asyncio.gather(self._weighing, return_exceptions=True)

    def expire(self) -> None:
        """
        Let nobody be given an earlier reading: something is known to have changed.
        """
        self._ended_s = self._day_due_s = float("-inf")

    async def _take(self, *, anew: bool) -> Reading:
        up, last = self._upstream, self._last
        stats, hot_path, store, overview, day = await asyncio.gather(
            self._asked("omen", "stats", up.omen.operations.stats, anew=anew),
            self._asked("omen", "hot_path", up.omen.operations.hot_path, anew=anew),
            self._asked("riskcast", "stats", up.riskcast.stats, anew=anew),
            self._asked("reconciler", "overview", up.reconciler.overview, anew=anew),
            self._day(anew=anew),
        )
        if last is not None:
            # Whoever takes his time is shown as he was: a word that comes and goes tells nobody anything.
            stats, hot_path = settled(stats, last.stats), settled(hot_path, last.hot_path)
            store, overview = settled(store, last.store), settled(overview, last.overview)
        rate = self._rate(stats) if stats.trouble is None and (last is None or stats is not last.stats) else None
        if rate is None and last is not None and stats is last.stats:
            rate = last.per_second
        return Reading(up.now(), stats, hot_path, store, overview, day, rate)

    async def _asked(
        self, server: str, name: str, call: Callable[[], Awaitable[Value]], *, anew: bool
    ) -> Answer[Value]:
        """
        Ask, and wait no longer than a page does, unless something was just done: then the answer is to know of it.
        """
        if anew:
            return await self._upstream.ask(server, call(), remember=name)
        return await self._asking.ask(server, name, call)

    def _rate(self, stats: Answer[operations_pb.GetStatsResponse]) -> float | None:
        """
        Return how many signals a second were appended lately; None after the first look.
        """
        now_s = self._clock()
        appended = stats.value.signals_appended if stats.value is not None else 0
        if self._samples and appended < self._samples[-1][1]:
            self._samples.clear()  # OMEN was started again and counts from nothing.
        while self._samples and now_s - self._samples[0][0] > RATE_WINDOW_S:
            self._samples.popleft()
        self._samples.append((now_s, appended))
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_s - first_s) if last_s - first_s >= FRESH_S else None

    async def _day(self, *, anew: bool) -> Answer[Day | None]:
        """
        Return the comparison of the day: all of its counts are of one moment, and a dear comparison is kept a while.

        One that takes long goes on behind the pages, which show the known one, or that RiskCast is counting.
        """
        last = self._last
        known = last.day if last is not None and last.day.trouble is None else None
        if known is not None and known.value is not self._begun and self._clock() < self._day_due_s and not anew:
            return known
        patience_s = self._upstream.timeout_s if anew else PATIENCE_S
        if anew and self._weighing is not None:
            # It knows nothing of what was just done.
            await asyncio.wait({self._weighing}, timeout=patience_s)
            self._weighing = None if self._weighing.done() else self._weighing
        if self._weighing is None or is_old(self._weighing, self._upstream.now()):
            self._begun, self._weighed_s = None, self._clock()
            weighed = self._upstream.ask("omen", self._weighed(), remember="day", timeout_s=COMPARING_MAX_S)
            self._weighing = asyncio.create_task(weighed, name="comparing the day")
        task = self._weighing
        await asyncio.wait({task}, timeout=patience_s)
        if not task.done():
            now = self._upstream.now()
            return known or (Answer(self._begun, now) if self._begun else Answer(None, now, asking("omen")))
        self._weighing = None
        took_s = self._clock() - self._weighed_s
        self._day_due_s = self._clock() + min(DAY_SHARE * took_s, DAY_WAIT_MAX_S)
        return task.result()

    async def _weighed(self) -> Day | None:
        """
        Compare today's partitions, or the newest day's: a watermark each, and what RiskCast holds up to it.
        """
        names = await self._chosen()
        if not names:
            return None
        marks = [await self._upstream.omen.watermark(name, timeout_s=COMPARING_MAX_S) for name in names]
        day = self._begun = self._of(names, marks)
        held = self._held(names, marks)
        stored = await self._upstream.ask("riskcast", held, remember=f"held {day.partition}", timeout_s=COMPARING_MAX_S)
        return replace(day, stored=stored)

    async def _chosen(self) -> Sequence[str]:
        """
        Return the partitions of today or of the newest day: the main one, and that of its late arrivals.
        """
        page = await self._upstream.omen.partitions_page(ledger_pb.ListPartitionsRequest(page_size=LOOKED_AT))
        days = [each.partition_date for each in page.partitions]
        if not days:
            return ()
        today = self._upstream.now().date().isoformat()
        day = today if today in days else days[0]
        return sorted(each.partition for each in page.partitions if each.partition_date == day)

    def _of(self, names: Sequence[str], marks: Sequence[ledger_pb.GetWatermarkResponse]) -> Day:
        now = self._upstream.now()
        records = sum(mark.durable_highwater - sum(each.last - each.first + 1 for each in mark.gaps) for mark in marks)
        text = "RiskCast is counting what it holds."
        stored: Answer[int] = Answer(None, now, Trouble("riskcast", COUNTING, "", "", text))
        today = now.date().isoformat()
        return Day(names[0], names[0][: len(today)] == today, len(names) > 1, records, marks[0].is_sealed, stored)

    async def _held(self, names: Sequence[str], marks: Sequence[ledger_pb.GetWatermarkResponse]) -> int:
        held = 0
        for name, mark in zip(names, marks, strict=True):
            at = 0
            while mark.durable_highwater:
                found = await self._upstream.riskcast.coverage(
                    name,
                    mark.durable_highwater,
                    from_index=at,
                    ledger_epoch=mark.ledger_epoch,
                    ledger_gaps=mark.gaps,
                    timeout_s=COMPARING_MAX_S,
                )
                held, at = held + found.count, found.next_index
                if not at:
                    break
        return held


def is_old(weighing: "asyncio.Task[Answer[Day | None]]", now: datetime) -> bool:
    """
    Tell whether a comparison ended long ago, and nobody looked since.
    """
    return weighing.done() and (weighing.exception() is not None or now - weighing.result().at > KEPT)


def settled(answer: Answer[Value], before: Answer[Value]) -> Answer[Value]:
    """
    Return an answer, or while it is under way the one before.
    """
    return before if answer.is_asking else answer
