"""
What StreamSignals brings: a cold reader from the beginning, and many live ones while a producer emits.

Whoever receives runs in this process, OMEN and the producer in processes of their own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Self

from omen.v1.signal_pb2 import SIGNAL_CATEGORY_GEOPOLITICAL, SIGNAL_CATEGORY_WEATHER
from omen.v1.signal_service_pb2 import StreamSignalsRequest
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_cli.bench.figures import rounded
from omen_cli.bench.producing import produced
from omen_cli.bench.typical import typical_signal
from omen_client import OmenClient, SignalStream
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.settings import LedgerSettings
from omen_server.records import SIGNALS, entry_of

Payload = Literal["json", "protobuf"]
SUBSCRIBERS = 20
STALLED = 50
FRAME = 500
BATCH = 500
# One signal in so many is what the filter lets through.
FILTERED = 10
RECORDS_MIN, RECORDS_MAX, RECORDS_PER_S = 1_000, 100_000, 1_000
STEP_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class StreamFigure:
    """
    One case. Rates are of signals a second: received by all subscribers together, read from the ledger, emitted.
    """

    case: str
    payload: Payload
    subscribers: int
    seconds: float
    received: int
    received_per_s: float | None = None
    read_per_s: float | None = None
    emitted_per_s: float | None = None

    def row(self) -> dict[str, Any]:
        """
        Return the figure as it is printed.
        """
        return {name: rounded(value) for name, value in asdict(self).items()}


def records_for(seconds: float) -> int:
    """
    Return how many records the ledger is to have, so that preparing it takes a small part of the time.
    """
    return min(RECORDS_MAX, max(RECORDS_MIN, round(seconds * RECORDS_PER_S / BATCH) * BATCH))


async def prepare(place: Path, payload: Payload, records: int) -> None:
    """
    Write a ledger with the engine itself; every tenth signal is about the weather.
    """
    settings = LedgerSettings(ballast_bytes=4096, resume_free_bytes=0)
    event = typical_signal()
    async with open_ledger(place / "ledger", SIGNALS, settings) as ledger:
        for start in range(0, records, BATCH):
            entries = []
            for number in range(start, min(start + BATCH, records)):
                event.signal_id = event.signal.signal_id = f"OMEN-COLD{number:010d}"
                weather = number % FILTERED == 0
                event.signal.category = SIGNAL_CATEGORY_WEATHER if weather else SIGNAL_CATEGORY_GEOPOLITICAL
                event.emitted_at.FromDatetime(datetime.now(UTC))
                entries.append(entry_of(event, payload))
            await ledger.append(entries)


async def measure_cold(address: str, payload: Payload, records: int, seconds: float) -> AsyncIterator[StreamFigure]:
    """
    Yield what one reader takes from the beginning until it is caught up: everything, then what a filter leaves.
    """
    async with OmenClient(address) as omen:
        for case, categories in (("catch-up", ()), ("catch-up, filtered", (SIGNAL_CATEGORY_WEATHER,))):

            def stream(categories: tuple[int, ...] = categories) -> SignalStream:
                return omen.stream(from_beginning=True, categories=categories, max_batch=FRAME, until_caught_up=True)

            rounds, received, took = await repeated(stream, seconds / 2)
            yield StreamFigure(case, payload, 1, took, received, received / took, rounds * records / took)


async def repeated(stream: Callable[[], SignalStream], seconds: float) -> tuple[int, int, float]:
    """
    Read to the end again and again for so long; return how often, how many signals, and how long it took.
    """
    received = rounds = 0
    began = perf_counter()
    while rounds == 0 or perf_counter() < began + seconds:
        async with stream() as signals:
            async for _ in signals:
                received += 1
        rounds += 1
    return rounds, received, perf_counter() - began


async def measure_live(address: str, payload: Payload, seconds: float) -> AsyncIterator[StreamFigure]:
    """
    Yield what a producer emits alone, beside subscribers that take all of it, and beside some that take nothing.
    """
    share = seconds / 3
    alone = await produced(address, share, "ALONE")
    yield StreamFigure("producer alone", payload, 0, alone.seconds, 0, None, None, alone.signals / alone.seconds)
    async with AsyncExitStack() as stack:
        readers = await stack.enter_async_context(Readers(address, SUBSCRIBERS))
        yield await shared("live", payload, readers, address, share)
    async with AsyncExitStack() as stack:
        omen = await stack.enter_async_context(OmenClient(address))
        await stalled(stack, omen)
        readers = await stack.enter_async_context(Readers(address, 1))
        yield await shared(f"live, {STALLED} stalled", payload, readers, address, share)


async def shared(case: str, payload: Payload, readers: "Readers", address: str, seconds: float) -> StreamFigure:
    """
    Let a producer emit beside readers, until each of them has everything.
    """
    run = "LIVE" if len(readers.received) > 1 else "STALL"
    began = perf_counter()
    made = await produced(address, seconds, run)
    async with asyncio.timeout(seconds + STEP_TIMEOUT_S):
        await readers.all_have(made.signals)
    # The start of the producer's process is no part of it; what the readers lag behind at its end is.
    took = max(made.seconds, readers.last_at - max(began, readers.first_at))
    received = sum(readers.received)
    return StreamFigure(
        case, payload, len(readers.received), took, received, received / took, None, made.signals / made.seconds
    )


async def stalled(stack: AsyncExitStack, omen: OmenClient) -> None:
    """
    Open streams of which nothing is read after their first frame.
    """
    method = SignalServiceStub(omen.connection.subscriptions).StreamSignals
    for _ in range(STALLED):
        call = method(StreamSignalsRequest())
        stack.callback(call.cancel)
        await call.read()


class Readers:
    """
    Subscribers to everything from now on, each on a connection of its own.
    """

    def __init__(self, address: str, count: int) -> None:
        self._address = address
        self._tasks: list[asyncio.Task[None]] = []
        self._moved = asyncio.Event()
        self.received = [0] * count
        self.first_at = 0.0
        self.last_at = 0.0

    async def __aenter__(self) -> Self:
        live = asyncio.Barrier(len(self.received) + 1)
        self._tasks = [asyncio.create_task(self._read(number, live)) for number in range(len(self.received))]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._moved.set())
        async with asyncio.timeout(STEP_TIMEOUT_S):
            await live.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def all_have(self, count: int) -> None:
        """
        Return when each reader has so many signals; raise what ended one before.
        """
        while min(self.received) < count:
            for task in self._tasks:
                if task.done():
                    task.result()
            self._moved.clear()
            await self._moved.wait()

    async def _read(self, number: int, live: asyncio.Barrier) -> None:
        """
        Count what comes after what was there: the end of that is where the cursor is taken.
        """
        async with OmenClient(self._address) as omen:
            async with omen.stream(until_caught_up=True) as before:
                async for _ in before:
                    pass
            async with omen.stream(after_cursor=before.cursor, max_batch=FRAME) as signals:
                await live.wait()
                async for _ in signals:
                    self.first_at = self.first_at or perf_counter()
                    self.received[number] += 1
                    self.last_at = perf_counter()
                    self._moved.set()
