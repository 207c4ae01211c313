"""
The one thread that writes. A batch is whatever arrived during the previous sync; there is no timer.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TypeVar

from omen_rpc.position import Position

from .entry import Entry
from .errors import LedgerClosed, LedgerError, LedgerFull, LedgerPoisoned, LedgerWriteError
from .journal import Journal
from .settings import LedgerSettings

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Call:
    """
    One producer's entries on their way. The writer owns it from `submit` until its future is settled.
    """

    entries: Sequence[Entry]
    future: asyncio.Future[list[Position]]
    results: list[Position | LedgerError | None] = field(default_factory=list)
    missing: int = 0


class Writer:
    """
    Appends in its own thread, so that a caller who goes away disturbs nothing.

    Everything that changes the ledger's routing or counters runs in this thread, one thing after the other.
    """

    def __init__(self, journal: Journal, settings: LedgerSettings, committed: Callable[[], None]) -> None:
        self._journal = journal
        self._settings = settings
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._calls: deque[_Call] = deque()
        self._orders: deque[Callable[[], None]] = deque()
        self._waiting = Condition()
        self._stopping = False
        self._queued_records = 0
        self._room = asyncio.Event()
        self._thread = Thread(target=self._run, name="ledger-writer", daemon=True)
        # Set once, with the cause, when the process has to stop.
        self.failed: asyncio.Future[LedgerPoisoned] = self._loop.create_future()

    def start(self) -> None:
        """
        Begin to take calls.
        """
        self._thread.start()

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        """
        Hand entries to the thread and wait until they are durable. Waits for room when the queue is full.
        """
        while self._queued_records and self._queued_records + len(entries) > self._settings.queue_records_max:
            self._room.clear()
            await self._room.wait()
        call = _Call(entries, self._loop.create_future())
        with self._waiting:
            if self._stopping:
                raise LedgerClosed
            self._queued_records += len(entries)
            self._calls.append(call)
            self._waiting.notify()
        return await call.future

    async def order(self, step: Callable[[], Answer]) -> Answer:
        """
        Run *step* in the writer's thread, between two batches.
        """
        done: Future[Answer] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return  # Whoever gave the order went away before its turn came.
            try:
                done.set_result(step())
            except Exception as error:  # noqa: BLE001 - whoever gave the order gets it, whatever it is.
                done.set_exception(error)

        with self._waiting:
            if self._stopping:
                raise LedgerClosed
            self._orders.append(run)
            self._waiting.notify()
        return await asyncio.wrap_future(done)

    async def close(self) -> None:
        """
        Append what is queued, then stop. Closing twice is closing once.
        """
        with self._waiting:
            self._stopping = True
            self._waiting.notify()
        await asyncio.to_thread(self._thread.join)
        self._journal.close()

    def _run(self) -> None:
        while True:
            with self._waiting:
                while not (self._calls or self._orders or self._stopping):
                    self._waiting.wait()
                if not self._calls and not self._orders:
                    return
                orders, calls = list(self._orders), self._take()
                self._orders.clear()
            for order in orders:
                order()
            try:
                self._commit(calls)
            except Exception as error:  # noqa: BLE001 - the loop of a thread: a bug must reach the callers, not hang them.
                _log.exception("The ledger's writer failed")
                self._fail(calls, LedgerWriteError(error))
            if self._journal.poison is not None:
                self._announce(self._journal.poison)

    def _take(self) -> list[_Call]:
        """
        Take the calls that fit one batch, and at least one.
        """
        taken: list[_Call] = []
        count = 0
        while self._calls and (not taken or count + len(self._calls[0].entries) <= self._settings.batch_records_max):
            taken.append(self._calls.popleft())
            count += len(taken[-1].entries)
        return taken

    def _commit(self, calls: list[_Call]) -> None:
        """
        Append a batch, one partition after the other, and answer every call as soon as all of it is durable.
        """
        groups: dict[str, list[tuple[_Call, int]]] = {}
        opening: set[str] = set()
        for call in calls:
            new = set(opening)
            call.results, call.missing = [None] * len(call.entries), len(call.entries)
            try:
                routes = [self._journal.route(entry.emitted_at, new) for entry in call.entries]
            except LedgerError as error:
                # Checked before anything is written: a call is refused as a whole.
                self._settle([(call, error)])
                continue
            opening = new
            for at, partition in enumerate(routes):
                groups.setdefault(partition, []).append((call, at))
        for partition, wanted in groups.items():
            results: list[Position | LedgerError] = []
            failure: LedgerError | None = None
            try:
                self._journal.commit(partition, [call.entries[at] for call, at in wanted], results)
            except LedgerError as error:
                failure = error
            done: list[tuple[_Call, LedgerError | None]] = []
            for rank, (call, at) in enumerate(wanted):
                call.results[at] = results[rank] if rank < len(results) else failure
                call.missing -= 1
                if call.missing == 0:
                    done.append((call, None))
            self._settle(done)

    def _settle(self, calls: Sequence[tuple[_Call, LedgerError | None]]) -> None:
        """
        Answer calls and wake whoever waits for the tail, in one hop to the event loop.
        """
        self._loop.call_soon_threadsafe(self._answer, calls)

    def _fail(self, calls: list[_Call], error: LedgerError) -> None:
        self._settle([(call, error) for call in calls])

    def _answer(self, calls: Sequence[tuple[_Call, LedgerError | None]]) -> None:
        for call, refusal in calls:
            self._queued_records -= len(call.entries)
            if call.future.done():
                continue  # The caller went away; what was appended stays appended.
            error = refusal or _first_error(call.results)
            if error is None:
                call.future.set_result([result for result in call.results if isinstance(result, Position)])
            else:
                call.future.set_exception(error)
        self._room.set()
        self._committed()

    def _announce(self, poison: LedgerPoisoned) -> None:
        def tell() -> None:
            if not self.failed.done():
                self.failed.set_result(poison)

        self._loop.call_soon_threadsafe(tell)


def _first_error(results: Sequence[Position | LedgerError | None]) -> LedgerError | None:
    """
    Return why a call failed, with the positions of those of its entries that are durable nevertheless.
    """
    error = next((result for result in results if isinstance(result, LedgerError)), None)
    durable = [result for result in results if isinstance(result, Position)]
    if isinstance(error, LedgerFull):
        return LedgerFull(error.path, error.free_bytes, error.cause, durable)
    return LedgerWriteError(error.cause, durable) if isinstance(error, LedgerWriteError) else error
