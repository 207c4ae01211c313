"""
The hot path: pushes to RiskCast what the ledger holds, as soon as the ledger holds it.

It has no queue of its own. What waits is what is durable and has not been taken, and what it gives up lies in the
ledger all the same, for the reconciler. Nothing here ever makes the ledger wait.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import structlog
from grpc import StatusCode

from omen.v1 import signal_service_pb2 as pb
from omen_client.riskcast import Duplicate, Ingested, RiskCastClient
from omen_rpc import logs, metrics, tracing
from omen_rpc.errors import CallError
from omen_server.backpressure import Backpressure
from omen_server.breaker import Breaker, BreakerState
from omen_server.delivery import Delivery
from omen_server.guard import Guard, Sleep
from omen_server.hot_path import HotPathView
from omen_server.ledger.partition import Gap
from omen_server.outcomes import PENDING, Outcome, Outcomes, left
from omen_server.push_settings import DeliveryLimits, EmitterLimits
from omen_server.riskcast_watch import watch
from omen_server.settled import SettledMarks, Standing
from omen_server.tail import Committed, Tail, last_offset
from omen_server.tally import Tally
from omen_server.waiting import Waiting
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_HOT_PATH, IngestBatchItem

Told: TypeAlias = Callable[[Sequence[tuple[Committed, Outcome]]], None]

OVERFLOW = left("RiskCast does not keep up and newer signals go first")
STOPPED = left("OMEN stopped before it was pushed")
EARLIER = left("It was durable before this process began and is not pushed again")
FORGOTTEN = left("What became of it on the hot path is no longer remembered")
UNREADABLE = left("The ledger cannot read it back")
UNFORESEEN = left("OMEN failed while it was being pushed")
CROWDED = left("Too many signals wait to be pushed again")

SETTLED_OFFSET = metrics.LEDGER_OFFSET.labels("settled")

log = structlog.get_logger()


def nobody(_done: Sequence[tuple[Committed, Outcome]]) -> None:
    """
    Listen to nothing.
    """


class Emitter:
    """
    Follows the ledger from *begin* on. *told* is called with every outcome, in the event loop, before any waiter is.

    *riskcast* must retry nothing by itself (`attempts_max=1`). Nothing happens before `run`.
    """

    def __init__(
        self,
        tail: Tail,
        riskcast: RiskCastClient,
        begin: Standing,
        limits: EmitterLimits | None = None,
        *,
        told: Told = nobody,
        breaker: Breaker | None = None,
        backpressure: Backpressure | None = None,
        sleep: Sleep = asyncio.sleep,
        share: Callable[[], float] = random.random,
    ) -> None:
        self._tail, self._riskcast, self._begin = tail, riskcast, begin
        self._limits = limits or EmitterLimits()
        self._told = told
        self._stirred = asyncio.Event()
        self._guard = Guard(breaker or Breaker(), backpressure or Backpressure(), sleep=sleep, stir=self._stirred.set)
        self._share = share
        self._marks = SettledMarks(begin)
        self._outcomes = Outcomes(self._limits.outcomes_kept_max)
        self._waiting = Waiting()
        self._read = begin.offset
        self._pushes: dict[int, asyncio.Future[Outcome]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._overflowed = 0
        self._tally = Tally()
        self._running = self._stopping = self._hurrying = False
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """
        Push until `stop`, or until cancelled. Either way nobody who waits for an outcome is left without one.
        """
        self._running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                minders = [
                    tasks.create_task(watch(self._riskcast.connection, self._guard.came_back)),
                    tasks.create_task(self._mind_tail()),
                ]
                async with aclosing(self._tail.follow(self._begin.offset)) as batches:
                    while not self._finished():
                        self._stirred.clear()
                        await self._read_ahead(batches)
                        if self._step():
                            await asyncio.sleep(0)
                        elif not self._finished():
                            await self._guard.wait(self._stirred, waiting=bool(self._waiting))
                for minder in minders:
                    minder.cancel()
        finally:
            await self._end()

    def hurry(self) -> None:
        """
        Let nobody wait any more, now or later: what has no outcome yet is pending. Pushing goes on.
        """
        self._hurrying = True
        self._outcomes.give_up(PENDING, lambda _offset: True)
        for waiting in self._pushes.values():
            if not waiting.done():
                waiting.set_result(PENDING)

    async def stop(self, within_s: float) -> None:
        """
        Begin no call any more, let those in flight end within a time, and leave everything else to the reconciler.
        """
        self._stopping = True
        self._stirred.set()
        if self._calls:
            await asyncio.wait(self._calls, timeout=within_s)
        for call in self._calls:
            call.cancel()
        if self._running:
            await self._ended.wait()
        else:
            await self._end()

    async def outcome(self, offset: int) -> Outcome:
        """
        Wait for what becomes of the signal at *offset*; at once when that is known, or never will be.
        """
        known = self._outcomes.get(offset)
        if known is not None:
            return known
        if offset <= self._begin.offset:
            return EARLIER
        if self._ended.is_set():
            return STOPPED
        if offset <= self._read and not self._marks.is_pending(offset):
            return FORGOTTEN
        return PENDING if self._hurrying else await self._outcomes.wait(offset)

    def known(self, offset: int) -> Outcome | None:
        """
        Return what became of a signal a while ago, if that is remembered.
        """
        return self._outcomes.get(offset)

    async def push(self, item: Committed) -> Outcome:
        """
        Push a signal once more and wait for what becomes of it. Those who push the same at once share one push.

        What the hot path has not finished with is only waited for. Nothing of this moves what is settled.
        """
        if self._stopping or self._ended.is_set():
            return STOPPED
        if item.offset > self._read or self._marks.is_pending(item.offset):
            return await self.outcome(item.offset)
        waiting = self._pushes.get(item.offset)
        if self._hurrying:
            return PENDING
        if waiting is None:
            if len(self._pushes) >= self._limits.queue_signals_max:
                return CROWDED
            waiting = self._pushes[item.offset] = asyncio.get_running_loop().create_future()
            self._waiting.again.append(item)
            self._stirred.set()
        return await asyncio.shield(waiting)

    @property
    def delay_s(self) -> float:
        """
        How long backpressure puts the next call off.
        """
        return self._guard.delay_s

    def settled(self, partition: str) -> tuple[int, int]:
        """
        Return how far the hot path has settled a partition (position) and the whole ledger (offset).
        """
        return self._marks.of(partition)

    def view(self) -> HotPathView:
        """
        Return the hot path as it is now.
        """
        return HotPathView(
            breaker=self._guard.breaker,
            backpressure_delay_s=self._guard.delay_s,
            queue_length=self._backlog() + len(self._waiting.again),
            queue_length_max=self._limits.queue_signals_max,
            calls_in_flight=len(self._calls),
            settled_offset=self._marks.offset,
            overflowed=self._overflowed,
        )

    def _backlog(self) -> int:
        return len(self._waiting.fresh) + self._tail.durable_offset - self._read

    def _finished(self) -> bool:
        return self._stopping and not (self._backlog() or self._waiting or self._calls)

    async def _mind_tail(self) -> None:
        """
        Stir the loop at every commit: it may have something to take, or more waiting than may wait.
        """
        at = self._begin.offset
        while True:
            at = await self._tail.wait_beyond(at)
            self._stirred.set()

    async def _read_ahead(self, batches: AsyncGenerator[list[Committed | Gap], None]) -> None:
        """
        Hold enough for one call, if the ledger has it. Whatever is read counts as not settled from here on.
        """
        if len(self._waiting.fresh) >= self._limits.batch_signals_max or self._read >= self._tail.durable_offset:
            return
        batch = await anext(batches)
        gaps = False
        for item in batch:
            if isinstance(item, Gap):
                self._marks.skip(item)
                gaps = True
            else:
                self._marks.take(item.position)
                self._waiting.fresh.append(item)
        self._read = last_offset(batch)
        if gaps:
            self._outcomes.give_up(
                UNREADABLE, lambda offset: offset <= self._read and not self._marks.is_pending(offset)
            )
        SETTLED_OFFSET.set(self._marks.offset)

    def _step(self) -> bool:
        """
        Do the next thing that can be done now; False when there is none.
        """
        state = self._guard.look()
        metrics.PUSH_QUEUE_RECORDS.set(self._backlog())
        if not self._waiting:
            return False
        if self._stopping:
            self._give_up(STOPPED)
        elif state is BreakerState.OPEN:
            self._give_up(self._guard.left_alone())
        elif self._waiting.fresh and self._backlog() > self._limits.queue_signals_max:
            self._overflow(self._backlog() - self._limits.queue_signals_max)
        else:
            return self._begin_call(state is BreakerState.HALF_OPEN)
        return True

    def _begin_call(self, probing: bool) -> bool:
        """
        Begin a call, if there is a place for it and the guard lets it through.

        While it does not, nothing is taken: what waits is given up with the rest when the breaker opens meanwhile.
        """
        permit = self._guard.ask() if len(self._calls) < self._limits.calls_max else None
        if permit is None:
            return False
        batch = self._waiting.take(self._limits.batch_signals_max, self._limits.batch_bytes_max)
        limits = self._limits.delivery
        if probing:
            limits = replace(limits, attempts_max=1)
        unsettled = {item.offset: item for item in batch}
        call = asyncio.create_task(self._call(unsettled, permit, limits))
        self._calls.add(call)
        call.add_done_callback(partial(self._call_ended, unsettled, permit))
        metrics.PUSH_CALLS_OPEN.set(len(self._calls))
        return True

    def _give_up(self, outcome: Outcome) -> None:
        self._settle([(item, outcome) for item in self._waiting.take_all()])

    def _overflow(self, excess: int) -> None:
        items = self._waiting.take_oldest(excess)
        self._overflowed += len(items)
        metrics.PUSH_OVERFLOW_SIGNALS.inc(len(items))
        self._settle([(item, OVERFLOW) for item in items])

    async def _call(self, unsettled: dict[int, Committed], permit: int, limits: DeliveryLimits) -> None:
        """
        Make one call, and report how it ended.
        """

        def settle(done: Sequence[tuple[Committed, Outcome]]) -> None:
            for item, _ in done:
                del unsettled[item.offset]
            self._settle(done)

        delivery = Delivery(
            self._send,
            limits,
            settle=settle,
            attempted=self._guard.attempted,
            pause=partial(self._guard.pause, permit),
            share=self._share,
        )
        try:
            self._guard.called(permit, await delivery.deliver(list(unsettled.values())))
        except Exception as error:  # A bug must not leave callers waiting, nor hold back what is settled for ever.
            log.exception("push_failed", text=logs.words(error))

    def _call_ended(self, unsettled: dict[int, Committed], permit: int, call: asyncio.Task[None]) -> None:
        """
        Give an outcome to what has none: a call may be cancelled before it has even begun.
        """
        self._calls.discard(call)
        metrics.PUSH_CALLS_OPEN.set(len(self._calls))
        if unsettled:
            self._guard.give_back(permit)
            rest = STOPPED if call.cancelled() else UNFORESEEN
            self._settle([(item, rest) for item in unsettled.values()])
        self._stirred.set()

    async def _send(self, signals: Sequence[Committed], timeout_s: float) -> list[Outcome | CallError]:
        """
        Make one attempt. The request id is the same for every attempt: a duplicate's receipt tells who came first.
        """
        items = [IngestBatchItem(signal=item.event, request_id=request_id(item)) for item in signals]
        with tracing.span("push", "client", links=(item.event.trace_parent for item in signals)):
            answers = await self._riskcast.ingest_batch(items, origin=INGEST_ORIGIN_HOT_PATH, timeout_s=timeout_s)
        if len(answers) != len(items):
            raise CallError("", StatusCode.INTERNAL, f"{len(answers)} results for {len(items)} signals")
        return [answer if isinstance(answer, CallError) else acknowledged(answer) for answer in answers]

    def _settle(self, done: Sequence[tuple[Committed, Outcome]]) -> None:
        """
        Make outcomes known: to who listens, then to what is settled, at last to those who wait.
        """
        try:
            self._told(done)
        except Exception as error:  # Whoever listens to the hot path does not stop it.
            log.exception("outcome_untold", text=logs.words(error))
        for item, outcome in done:
            waiting = self._pushes.pop(item.offset, None)
            if waiting is None:
                self._marks.settle(item.position)
            elif not waiting.done():
                waiting.set_result(outcome)
            self._outcomes.put(item.offset, outcome)
        SETTLED_OFFSET.set(self._marks.offset)
        self._tally.count([outcome for _, outcome in done], self._backlog())
        self._stirred.set()

    async def _end(self) -> None:
        """
        Give an outcome to all who wait, now and later.
        """
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        self._give_up(STOPPED)
        self._outcomes.give_up(STOPPED, lambda _offset: True)
        self._ended.set()


def acknowledged(answer: Ingested | Duplicate) -> Outcome:
    """
    Return what RiskCast's acknowledgement means. A duplicate is a success with the original ack.
    """
    if isinstance(answer, Ingested):
        return Outcome(pb.EMIT_STATUS_DELIVERED, answer.ack_id)
    conflict = "RiskCast holds other content under this id" if answer.content_conflict else "RiskCast had it already"
    return Outcome(pb.EMIT_STATUS_DUPLICATE, answer.ack_id, f"{conflict}.")


def request_id(item: Committed) -> str:
    """
    Return the name of a push: the signal's place in the ledger.
    """
    return f"{item.position.partition}/{item.position.index}"
