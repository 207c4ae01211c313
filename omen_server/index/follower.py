"""
What keeps the index true to the ledger: it follows what is committed, and writes down what the hot path says of it.

A crash anywhere here costs nothing but a little reading: the mark says up to where the index is true, it is moved with
the rows, and the next start goes on behind it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from omen_rpc import logs, metrics
from omen_server.index import Index, IndexFellBack, IndexOfAnother, Mark, Outcome
from omen_server.index.outcomes import Outcomes
from omen_server.index.row import rows_of
from omen_server.ledger.identity import Identity
from omen_server.ledger.partition import Gap
from omen_server.tail import Committed, Tail, last_offset

OUTCOMES_MAX = 100_000
OUTCOMES_PER_WRITE_MAX = 500
RETRY_MIN_S = 0.1
RETRY_MAX_S = 10.0
LOOK_S = 1.0
# Making fewer rows than this takes less time than the way to a thread and back.
ROWS_IN_LOOP_MAX = 64

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """
    What a start found and did. `reason` says why rows were forgotten; empty when none were.
    """

    reason: str
    rows: int
    offset: int
    seconds: float


class Follower:
    """
    The one writer of an index. `catch_up` before anybody asks the index, then `run` until cancelled.
    """

    def __init__(
        self,
        identity: Identity,
        tail: Tail,
        index: Index,
        *,
        retry_min_s: float = RETRY_MIN_S,
        retry_max_s: float = RETRY_MAX_S,
        look_s: float = LOOK_S,
        outcomes_max: int = OUTCOMES_MAX,
    ) -> None:
        self._identity, self._tail, self._index = identity, tail, index
        self._retry_min_s, self._retry_max_s = retry_min_s, retry_max_s
        self._look_s = look_s
        self._outcomes = Outcomes(outcomes_max)
        self._offset = 0
        self._moved = asyncio.Event()
        self._noted = asyncio.Event()
        metrics.INDEX_LAG_RECORDS.set_function(lambda: max(0, tail.durable_offset - self._offset))

    @property
    def indexed_offset(self) -> int:
        """
        Up to where the index is true. It falls when the index has to begin anew.
        """
        return self._offset

    async def wait_indexed(self, offset: int) -> int:
        """
        Return the indexed offset as soon as it is *offset* or higher.
        """
        while self._offset < offset:
            moved = self._moved
            await moved.wait()
        return self._offset

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """
        Write down what became of signals as soon as the index has them. Nobody waits, and nothing is raised.
        """
        self._outcomes.add(outcomes)
        self._noted.set()

    async def catch_up(self) -> CaughtUp:
        """
        Make the index true to the ledger as it is durable now, forgetting what is not, and tell what that took.

        Raises `IndexFault`, among them `IndexOfAnother` when the database is shared and has another ledger's index.
        """
        began_s, rows = time.monotonic(), 0
        reason = await self._settle()
        while self._offset < self._tail.durable_offset:
            async with aclosing(self._tail.read(self._offset)) as batches:
                async for batch in batches:
                    rows += await self._put(batch)
        done = CaughtUp(reason, rows, self._offset, round(time.monotonic() - began_s, 3))
        log.info("index_ready", engine=self._index.engine, rows=rows, offset=done.offset, seconds=done.seconds)
        return done

    async def run(self) -> None:
        """
        Follow the ledger until cancelled. What fails is tried again; no append ever waits for it.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._for_ever("follow", self._follow), name="index follower")
            tasks.create_task(self._for_ever("note", self._write_outcomes), name="index outcomes")

    async def _for_ever(self, what: str, step: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """
        Run *step*, which ends by failing only, again and again. A failure is logged once, and so is its end.
        """
        delay_s, failing = self._retry_min_s, False

        def worked() -> None:
            nonlocal delay_s, failing
            if failing:
                log.warning("index_works_again", task=what, offset=self._offset)
            delay_s, failing = self._retry_min_s, False

        while True:
            try:
                await step(worked)
            except Exception as error:  # noqa: BLE001 - the loop of a task: whatever it is, the index catches up later.
                if not failing:
                    log.error("index_failed", task=what, text=logs.words(error), error=type(error).__name__)  # noqa: TRY400 - the text says it.
                failing = True
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, self._retry_max_s)

    async def _follow(self, worked: Callable[[], None]) -> None:
        await self._settle()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look())
                async with aclosing(self._tail.follow(self._offset)) as batches:
                    async for batch in batches:
                        await self._put(batch)
                        worked()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _look(self) -> None:
        """
        Raise `IndexFellBack` once the index is not true any more up to where it was: a damaged file begins anew, and a
        database may be put back to an older state, while nothing is appended that would find out.
        """
        while True:
            await asyncio.sleep(self._look_s)
            stood = self._offset
            mark = await self._index.projection.mark()
            stands = mark.offset if mark is not None else 0
            if stands < stood:
                raise IndexFellBack(stands, stood)

    async def _write_outcomes(self, worked: Callable[[], None]) -> None:
        while True:
            await self._noted.wait()
            self._noted.clear()
            while batch := self._outcomes.take(self._offset, OUTCOMES_PER_WRITE_MAX):
                try:
                    await self._index.projection.note(batch)
                except BaseException:
                    # Taken once more; an outcome that was written all the same is written again.
                    self.note(batch)
                    raise
                worked()

    async def _settle(self) -> str:
        """
        Find out up to where the index is true, forget what is not, and return why; empty when nothing had to go.
        """
        mark = await self._index.projection.mark()
        reason = self._strange(mark) if mark is not None else ""
        if mark is not None and not reason and mark.offset > self._tail.durable_offset:
            reason = f"it reaches to offset {mark.offset}, and the ledger ends at {self._tail.durable_offset}"
            mark = await self._cut(mark, self._tail.durable_offset, reason)
        elif reason:
            mark = await self._cut(mark, 0, reason)
        if mark is not None and await self._crc_at(mark.offset) != mark.crc:
            reason = f"the ledger has another record than the index at offset {mark.offset}"
            mark = await self._cut(mark, 0, reason)
        self._move(mark.offset if mark is not None else 0)
        return reason

    def _strange(self, mark: Mark) -> str:
        """
        Return why nothing of the index can be ours, or nothing.
        """
        if mark.ledger_id != self._identity.ledger_id:
            if self._index.shared:
                raise IndexOfAnother(mark.ledger_id, self._identity.ledger_id)
            return f"it is the index of ledger {mark.ledger_id}"
        return "" if mark.ledger_epoch == self._identity.ledger_epoch else "the ledger was restored from a backup"

    async def _cut(self, mark: Mark | None, offset: int, reason: str) -> Mark | None:
        found = mark.offset if mark is not None else 0
        log.warning("index_cut" if offset else "index_rebuilt", reason=reason, found_offset=found, kept_offset=offset)
        await self._index.projection.cut(offset)
        return await self._index.projection.mark()

    async def _crc_at(self, offset: int) -> int:
        """
        Return the crc of the ledger's record at an offset; 0 where none can be read.
        """
        async with aclosing(self._tail.read(offset - 1, offset)) as batches:
            async for batch in batches:
                return 0 if isinstance(batch[-1], Gap) else batch[-1].crc()
        return 0

    async def _put(self, batch: Sequence[Committed | Gap]) -> int:
        rows = rows_of(batch) if len(batch) <= ROWS_IN_LOOP_MAX else await asyncio.to_thread(rows_of, batch)
        crc = 0 if isinstance(batch[-1], Gap) else rows[-1].crc
        mark = Mark(self._identity.ledger_id, self._identity.ledger_epoch, last_offset(batch), crc)
        await self._index.projection.put(rows, mark, self._offset)
        self._move(mark.offset)
        return len(rows)

    def _move(self, offset: int) -> None:
        self._offset = offset
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        if self._outcomes:
            self._noted.set()
