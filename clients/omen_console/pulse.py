"""
What every page shows of the three servers at a glance, read at most twice a second however many pages are open.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Final

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen.v1 import operations_service_pb2 as operations_pb
from omen_console.upstream import Answer, Trouble, Upstream
from reconcile.v1 import reconcile_service_pb2 as reconcile_pb
from riskcast.v1 import inventory_service_pb2 as inventory_pb

FRESH_S: Final = 0.45
RATE_WINDOW_S: Final = 10.0
SAMPLES_MAX: Final = 64
LOOKED_AT: Final = 8
# Comparing a day costs RiskCast some time when very much is missing: it spends no more than a tenth of its own on us.
DAY_SHARE: Final = 10.0
DAY_WAIT_MAX_S: Final = 5.0
# So long a page waits for the comparison: the first of a large day, or one after a restart, takes RiskCast seconds.
PATIENCE_S: Final = 0.15
COUNTING: Final = "counting"


@dataclass(frozen=True, slots=True)
class Day:
    """
    One partition on both sides: today's, or the newest there is.
    """

    partition: str
    is_today: bool
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

    def __init__(self, upstream: Upstream, clock: Callable[[], float] = monotonic) -> None:
        self._upstream = upstream
        self._clock = clock
        self._turn = asyncio.Lock()
        self._last: Reading | None = None
        self._began_s = self._ended_s = float("-inf")
        self._day_due_s = self._weighed_s = float("-inf")
        self._weighing: asyncio.Task[Day] | None = None
        self._counting: Day | None = None
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

    def expire(self) -> None:
        """
        Let nobody be given an earlier reading: something is known to have changed.
        """
        self._ended_s = self._day_due_s = float("-inf")

    async def _take(self, *, anew: bool) -> Reading:
        up = self._upstream
        stats, hot_path, store, overview, day = await asyncio.gather(
            up.ask("omen", up.omen.operations.stats(), remember="stats"),
            up.ask("omen", up.omen.operations.hot_path(), remember="hot_path"),
            up.ask("riskcast", up.riskcast.stats(), remember="stats"),
            up.ask("reconciler", up.reconciler.overview(), remember="overview"),
            self._day(anew=anew),
        )
        rate = self._rate(stats) if stats.trouble is None else None
        return Reading(up.now(), stats, hot_path, store, overview, day, rate)

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
        Return the comparison of the day: both counts are of one moment, and a dear comparison is kept a while.
        """
        began_s, last = self._clock(), self._last
        known = last.day if last is not None and last.day.trouble is None else None
        if known is not None and began_s < self._day_due_s and not anew:
            return known
        # Each of its calls has a deadline; this one is over all of them.
        compared = self._compared(known.value if known is not None else None, anew=anew)
        day = await self._upstream.ask("omen", compared, remember="day", timeout_s=2 * self._upstream.timeout_s)
        if self._weighing is None:
            took_s = self._clock() - self._weighed_s
            self._day_due_s = self._clock() + min(DAY_SHARE * took_s, DAY_WAIT_MAX_S)
        return day

    async def _compared(self, known: Day | None, *, anew: bool) -> Day | None:
        """
        Compare today's partition, or the newest: a watermark, and what RiskCast holds up to it.

        One that takes long goes on behind the pages, which show the *known* one, or that RiskCast is counting.
        """
        if anew and self._weighing is not None:
            await asyncio.wait({self._weighing})
            self._weighing = None
        if self._weighing is None:
            self._weighed_s = self._clock()
            chosen = await self._chosen()
            if chosen is None:
                return None
            mark = await self._upstream.omen.watermark(chosen)
            self._counting = self._begun(mark, chosen)
            self._weighing = asyncio.create_task(self._weighed(mark, self._counting))
        done, _ = await asyncio.wait({self._weighing}, timeout=None if anew else PATIENCE_S)
        if done:
            task, self._weighing = self._weighing, None
            return task.result()
        return known if known is not None else self._counting

    async def _chosen(self) -> str | None:
        page = await self._upstream.omen.partitions_page(ledger_pb.ListPartitionsRequest(page_size=LOOKED_AT))
        mains = [each.partition for each in page.partitions if not each.is_late]
        today = self._upstream.now().date().isoformat()
        return today if today in mains else mains[0] if mains else None

    def _begun(self, mark: ledger_pb.GetWatermarkResponse, partition: str) -> Day:
        now = self._upstream.now()
        lost = sum(each.last - each.first + 1 for each in mark.gaps)
        text = "RiskCast is counting what it holds."
        stored: Answer[int] = Answer(None, now, Trouble("riskcast", COUNTING, "", "", text))
        is_today = partition == now.date().isoformat()
        return Day(partition, is_today, mark.durable_highwater - lost, mark.is_sealed, stored)

    async def _weighed(self, mark: ledger_pb.GetWatermarkResponse, day: Day) -> Day:
        held = self._held(mark, day.partition)
        return replace(day, stored=await self._upstream.ask("riskcast", held, remember=f"held {day.partition}"))

    async def _held(self, mark: ledger_pb.GetWatermarkResponse, partition: str) -> int:
        if not mark.durable_highwater:
            return 0
        held, at = 0, 0
        while True:
            found = await self._upstream.riskcast.coverage(
                partition,
                mark.durable_highwater,
                from_index=at,
                ledger_epoch=mark.ledger_epoch,
                ledger_gaps=mark.gaps,
            )
            held, at = held + found.count, found.next_index
            if not at:
                return held
