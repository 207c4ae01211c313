"""
Bringing RiskCast what it lacks: the same Ingest RPC as the hot path, other origin.

A failure of the way there blames no signal; a refusal does, and after a few of them the signal is parked. Parked ones
get at most a tenth of the effort, so that poison does not starve the rest.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice

from grpc import StatusCode

from omen.v1.position_pb2 import LedgerGap
from omen.v1.signal_pb2 import SignalEvent
from omen_client import CallError, Duplicate, OmenClient, RiskCastClient
from omen_rpc import tracing
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_RECONCILE, IngestBatchItem

BATCH_SIGNALS_MAX = 100
BATCH_BYTES_MAX = 512 << 10
ITEM_OVERHEAD_BYTES = 64
READ_INDEXES_MAX = 2_000
IDS_KEPT_MAX = 1_000
ATTEMPTS_MAX = 5
PAUSE_FIRST_S = 0.2
# A rate that is changed, and a reason to stop, are heeded by whoever waits after so long.
LOOK_AGAIN_S = 0.25
WAIT_MIN_S = 1e-6
CALLS_MAX = 2
REQUEST = "reconcile"

# The same signal again may go through; the way was the matter.
TRANSIENT = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.ABORTED,
        StatusCode.INTERNAL,
        StatusCode.CANCELLED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNKNOWN,
    }
)
# No signal is to blame, and no pause helps.
FATAL = frozenset({StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED, StatusCode.UNIMPLEMENTED})


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    A signal that RiskCast would not take, and why.
    """

    event: SignalEvent
    error: CallError


@dataclass(slots=True)
class Replayed:
    """
    What a replay came to. `stopped` says why it ended before its last signal; nothing when it did not.
    """

    count: int = 0
    ids: list[str] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    unreadable: int = 0
    false_gaps: int = 0
    stopped: str = ""


class Rate:
    """
    So many signals a second, changeable while somebody waits for his turn.
    """

    def __init__(
        self,
        signals_per_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.signals_per_s = signals_per_s
        self._monotonic = monotonic
        self._sleep = sleep
        # Signals that were sent before their time, as of a moment.
        self._ahead = 0.0
        self._as_of_s = monotonic()

    async def take(self, signals: int, until: Callable[[], str]) -> None:
        """
        Return when so many may be sent, or when *until* says why not to.
        """
        while (wait_s := self._wait_s()) > 0 and not until():
            await self._sleep(min(wait_s, LOOK_AGAIN_S))
        self._ahead += signals

    def _wait_s(self) -> float:
        now_s = self._monotonic()
        self._ahead = max(0.0, self._ahead - (now_s - self._as_of_s) * self.signals_per_s)
        self._as_of_s = now_s
        wait_s = self._ahead / self.signals_per_s
        return wait_s if wait_s > WAIT_MIN_S else 0.0


class Replayer:
    """
    Replays positions of the ledger. *courtesy* is awaited before every call: the hot path goes first.
    """

    def __init__(
        self,
        omen: OmenClient,
        riskcast: RiskCastClient,
        rate: Rate,
        courtesy: Callable[[], Awaitable[None]],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._omen, self._riskcast = omen, riskcast
        self._rate, self._courtesy, self._sleep = rate, courtesy, sleep

    async def replay(
        self, partition: str, indexes: Iterable[int], told: Callable[[Replayed], None], until: Callable[[], str]
    ) -> Replayed:
        """
        Replay positions in order and return what came of it. *until* says, between two batches, why to stop.

        Raises CallError when no signal is to blame and no pause helps: a key that is refused, for instance.
        """
        done = Replayed()
        calls: set[asyncio.Task[None]] = set()
        try:
            async with aclosing(self._batches(partition, iter(indexes), done)) as batches:
                async for batch in batches:
                    done.stopped = done.stopped or until() or await self._turn(len(batch), until)
                    if done.stopped:
                        break
                    calls.add(asyncio.create_task(self._send(batch, done)))
                    if len(calls) == CALLS_MAX:
                        calls = await first_ended(calls)
                    told(done)
            while calls:
                calls = await first_ended(calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        told(done)
        return done

    async def _turn(self, signals: int, until: Callable[[], str]) -> str:
        """
        Wait until a batch may be sent, and return why it is not to be after all.
        """
        await self._courtesy()
        await self._rate.take(signals, until)
        return until()

    async def _batches(
        self, partition: str, indexes: "Iterable[int]", done: Replayed
    ) -> AsyncGenerator[list[SignalEvent], None]:
        """
        Yield what the ledger has at these positions, as much together as one call may carry.
        """
        batch: list[SignalEvent] = []
        size = 0
        rest = iter(indexes)
        while chosen := list(islice(rest, READ_INDEXES_MAX)):
            items = self._omen.read_partition(partition, indexes=chosen)
            async with aclosing(items):
                async for item in items:
                    if isinstance(item, LedgerGap):
                        done.unreadable += sum(item.first_index <= index <= item.last_index for index in chosen)
                        continue
                    more = item.ByteSize() + ITEM_OVERHEAD_BYTES
                    if batch and (len(batch) >= BATCH_SIGNALS_MAX or size + more > BATCH_BYTES_MAX):
                        yield batch
                        batch, size = [], 0
                    batch.append(item)
                    size += more
        if batch:
            yield batch

    async def _send(self, batch: Sequence[SignalEvent], done: Replayed) -> None:
        """
        Send a batch until each of its signals has an answer of its own, or the way there stays closed.
        """
        pause_s = PAUSE_FIRST_S
        for attempt in range(1, ATTEMPTS_MAX + 1):
            batch = await self._attempt(batch, done)
            if not batch:
                return
            if attempt < ATTEMPTS_MAX:
                await self._sleep(pause_s)
                pause_s *= 2
        done.stopped = done.stopped or "riskcast_unavailable"

    async def _attempt(self, batch: Sequence[SignalEvent], done: Replayed) -> list[SignalEvent]:
        """
        Send a batch once and return what is to be sent again.
        """
        items = [
            IngestBatchItem(signal=event, request_id=f"{REQUEST}/{event.ledger_partition}/{event.ledger_index}")
            for event in batch
        ]
        try:
            with tracing.span("replay", "client", links=(event.trace_parent for event in batch)):
                answers = await self._riskcast.ingest_batch(items, origin=INGEST_ORIGIN_RECONCILE)
        except CallError as error:
            if error.code in TRANSIENT:
                return list(batch)
            if error.code in FATAL or len(batch) == 1:
                if error.code in FATAL:
                    raise
                done.refused.append(Refusal(batch[0], error))
                return []
            # Something in the batch as a whole is refused: halves, until the one that is to blame stands alone.
            middle = len(batch) // 2
            return [*await self._attempt(batch[:middle], done), *await self._attempt(batch[middle:], done)]
        again: list[SignalEvent] = []
        for event, answer in zip(batch, answers, strict=True):
            if not isinstance(answer, CallError):
                done.count += 1
                done.indexes.append(event.ledger_index)
                # It came on another way after all: above what was settled nothing should have been missing.
                done.false_gaps += isinstance(answer, Duplicate) and not answer.request_id.startswith(REQUEST)
                if len(done.ids) < IDS_KEPT_MAX:
                    done.ids.append(event.signal_id)
            elif answer.code in TRANSIENT:
                again.append(event)
            else:
                done.refused.append(Refusal(event, answer))
        return again


async def first_ended(calls: "set[asyncio.Task[None]]") -> "set[asyncio.Task[None]]":
    """
    Wait for one of *calls* to end, raise what it raised, and return the others.
    """
    ended, rest = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    for call in ended:
        call.result()
    return rest
