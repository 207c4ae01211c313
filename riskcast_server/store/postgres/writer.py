"""
The tasks that write. Whoever puts waits in line; each transaction takes whoever waits, so that they share one commit.

The tasks belong to the store and not to a caller: one who is cancelled leaves the line or not, but no transaction open.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from omen_storage.postgres.connection import DURABLE, Database
from riskcast_server.store import Arrival, Receipt
from riskcast_server.store.errors import StoreBusy, StoreError, StoreFailed, StoreUnavailable
from riskcast_server.store.limits import Clock, NewAcks, StoreLimits
from riskcast_server.store.postgres.group import store_group


@dataclass(frozen=True, slots=True)
class Place:
    """
    A place in line: what is to be stored, and whom to tell. `told` may be cancelled at any time.
    """

    arrivals: Sequence[Arrival]
    bytes: int
    told: asyncio.Future[list[Receipt]]


class Writers:
    """
    Half of the pool's connections, at work on one line.
    """

    def __init__(self, database: Database, limits: StoreLimits, now: Clock, acks: NewAcks) -> None:
        self._database = database
        self._limits = limits
        self._now = now
        self._acks = acks
        self._line: deque[Place] = deque()
        self._signals = self._bytes = 0
        self._work = asyncio.Event()
        self._closing = False
        self._failure: StoreFailed | None = None
        count = max(1, limits.postgres.connections_max // 2)
        self._tasks = [asyncio.create_task(self._run(), name=f"store writer {number}") for number in range(count)]

    async def put(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        Wait in line, and return the receipts once they are durable.
        """
        if self._failure is not None:
            raise StoreFailed(str(self._failure)) from self._failure
        if self._closing:
            raise StoreUnavailable("the store is closing")
        place = Place(arrivals, sum(len(arrival.signal_data) for arrival in arrivals), _future())
        signals, size = self._signals + len(arrivals), self._bytes + place.bytes
        # Only an empty line takes what is too much by itself: it could never be stored otherwise.
        if self._signals and (signals > self._limits.waiting_signals_max or size > self._limits.waiting_bytes_max):
            raise StoreBusy(self._signals, self._bytes)
        self._line.append(place)
        self._signals, self._bytes = signals, size
        self._work.set()
        return await place.told

    async def close(self) -> None:
        """
        Commit everything in line.
        """
        self._closing = True
        self._work.set()
        await asyncio.gather(*self._tasks)

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            if self._line:
                await self._answer(self._take())
            elif self._closing:
                return
            else:
                self._work.clear()

    def _take(self) -> list[Place]:
        taken = [self._line.popleft()]  # However large: a put is stored as a whole or not at all.
        signals = len(taken[0].arrivals)
        while self._line and signals + len(self._line[0].arrivals) <= self._limits.group_signals_max:
            signals += len(self._line[0].arrivals)
            taken.append(self._line.popleft())
        return taken

    async def _answer(self, places: Sequence[Place]) -> None:
        try:
            receipts = await self._commit([arrival for place in places for arrival in place.arrivals])
        except StoreError as error:
            self._tell_failure(places, error)
        except Exception as error:  # noqa: BLE001 - the loop of a task: a bug here must reach whoever waits, and the process.
            self._tell_failure(places, StoreFailed(f"a writer broke: {error!r}"))
        else:
            for place in places:
                own, receipts = receipts[: len(place.arrivals)], receipts[len(place.arrivals) :]
                if not place.told.done():
                    place.told.set_result(own)
        finally:
            self._signals -= sum(len(place.arrivals) for place in places)
            self._bytes -= sum(place.bytes for place in places)

    def _tell_failure(self, places: Sequence[Place], error: StoreError) -> None:
        if isinstance(error, StoreFailed):
            self._failure = error
        for place in places:
            if not place.told.done():
                place.told.set_exception(error)

    async def _commit(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        Store *arrivals* in one transaction, again if another one was in the way or had one of the acks drawn.
        """
        for attempt in range(1, self._limits.attempts_max + 1):
            try:
                return await self._attempt(arrivals)
            except StoreError as error:
                again = isinstance(
                    error.__cause__,
                    asyncpg.SerializationError | asyncpg.DeadlockDetectedError | asyncpg.UniqueViolationError,
                )
                if not again or attempt == self._limits.attempts_max:
                    raise
        raise AssertionError

    async def _attempt(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        async with self._database.transaction(DURABLE) as connection:
            at = self._now()
            if not arrivals:
                await connection.execute("UPDATE store_meta SET probed_at = $1", at)
                return []
            return await store_group(connection, arrivals, self._acks(len(arrivals)), at)


def _future() -> asyncio.Future[list[Receipt]]:
    return asyncio.get_running_loop().create_future()
