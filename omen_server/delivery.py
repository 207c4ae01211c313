"""
One call to RiskCast: a few signals, and attempts until each of them has its outcome.
"""

import asyncio
import enum
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from grpc import StatusCode

from omen.v1 import signal_service_pb2 as pb
from omen_rpc import metrics
from omen_rpc.errors import CallError, DeadlineExceeded, Reason, clip
from omen_server.outcomes import Outcome, left
from omen_server.push_settings import DeliveryLimits
from omen_server.tail import Committed

# What one attempt brings back for each of its signals, in order. CallError is raised when it failed as a whole.
Send: TypeAlias = Callable[[Sequence[Committed], float], Awaitable[Sequence[Outcome | CallError]]]
Settle: TypeAlias = Callable[[Sequence[tuple[Committed, Outcome]]], None]

RETRYABLE = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.ABORTED,
        StatusCode.INTERNAL,
        StatusCode.CANCELLED,  # What a stopping server ends its calls with. Our own cancelling is no error.
    }
)
# What is wrong is the signal, so that no later attempt will do better.
REFUSALS = frozenset({StatusCode.INVALID_ARGUMENT, StatusCode.OUT_OF_RANGE})
TOO_LARGE = Reason.Name(Reason.ERROR_REASON_MESSAGE_TOO_LARGE).removeprefix("ERROR_REASON_")


class Fate(enum.Enum):
    """
    What an error means for the signals that it is about.
    """

    RETRY = "retry"
    DUPLICATE = "duplicate"
    REJECT = "reject"
    LEAVE = "leave"


class Delivery:
    """
    One call. Its retries are its own: the channel makes none.

    *settle* is told every outcome as soon as there is one, *attempted* of every attempt whether RiskCast answered.
    *pause* waits before another attempt and returns False when there is to be none.
    """

    def __init__(
        self,
        send: Send,
        limits: DeliveryLimits,
        *,
        settle: Settle,
        attempted: Callable[[bool], None],
        pause: Callable[[float], Awaitable[bool]],
        share: Callable[[], float] = random.random,
    ) -> None:
        self._send = send
        self._limits = limits
        self._settle = settle
        self._attempted = attempted
        self._pause = pause
        self._share = share

    async def deliver(self, batch: Sequence[Committed]) -> CallError | None:
        """
        Bring every signal of *batch* to an outcome; return why none of them got RiskCast's answer, or None if one did.
        """
        waiting, answered, attempt = list(batch), False, 0
        while True:
            attempt += 1
            try:
                answers = await self._attempt(waiting)
            except CallError as error:
                if len(waiting) > 1 and concerns_one(error):
                    return None if await self._split(waiting, error) or answered else error
                answers = [error] * len(waiting)
            waiting, last, settled = self._sort(waiting, answers)
            answered = answered or settled
            if last is None:
                return None if answered else first_error(answers)
            pause_s = self._pause_s(last, attempt)
            if (
                attempt >= self._limits.attempts_max
                or pause_s > self._limits.pause_max_s
                or not await self._pause(pause_s)
            ):
                self._leave(waiting, last, attempt)
                return None if answered else last

    async def _split(self, signals: list[Committed], error: CallError) -> bool:
        """
        Deliver each half by itself: one signal spoils it for all, and RiskCast does not say which.
        """
        middle = len(signals) // 2
        answered = await self.deliver(signals[:middle]) is None
        if await self._pause(0.0):
            return await self.deliver(signals[middle:]) is None or answered
        self._leave(signals[middle:], error, 1)
        return answered

    async def _attempt(self, signals: Sequence[Committed]) -> Sequence[Outcome | CallError]:
        """
        Make one attempt and report how it went: well if a signal got an answer that is final.
        """
        limits, began_s = self._limits, time.perf_counter()
        metrics.PUSH_BATCH_RECORDS.observe(len(signals))
        well = False
        try:
            async with asyncio.timeout(limits.timeout_s + limits.overdue_s):
                answers = await self._send(signals, limits.timeout_s)
            well = any(is_final(answer) for answer in answers)
        except CallError as error:
            well = concerns_one(error)
            metrics.PUSH_ERRORS.labels(error.code.name).inc()
            raise
        except TimeoutError:
            # The call should have ended by itself. Whatever holds it, nobody waits for it any longer.
            metrics.PUSH_ERRORS.labels(StatusCode.DEADLINE_EXCEEDED.name).inc()
            raise overdue(limits) from None
        finally:
            metrics.PUSH_SECONDS.observe(time.perf_counter() - began_s)
            self._attempted(well)
        return answers

    def _sort(
        self, signals: Sequence[Committed], answers: Sequence[Outcome | CallError]
    ) -> tuple[list[Committed], CallError | None, bool]:
        """
        Settle what is final; return what may be tried again, why, and whether there was any answer of RiskCast's.
        """
        again: list[Committed] = []
        done: list[tuple[Committed, Outcome]] = []
        last: CallError | None = None
        for signal, answer in zip(signals, answers, strict=True):
            if isinstance(answer, CallError) and fate_of(answer) is Fate.RETRY:
                again.append(signal)
                last = answer
            else:
                done.append((signal, answer if isinstance(answer, Outcome) else outcome_of(answer)))
        if done:
            self._settle(done)
        return again, last, any(is_final(answer) for answer in answers)

    def _leave(self, signals: Sequence[Committed], error: CallError, attempts: int) -> None:
        outcome = left(f"{told(error)} (attempt {attempts})", error.reason, error.message)
        self._settle([(signal, outcome) for signal in signals])

    def _pause_s(self, error: CallError, attempt: int) -> float:
        """
        Return how long to wait behind an attempt: a random share of a time that doubles, but never less than was asked.
        """
        limits = self._limits
        longest_s = min(limits.pause_max_s, limits.pause_first_s * 2.0 ** min(attempt - 1, 60))
        return max(self._share() * longest_s, error.retry_after_s or 0.0)


def fate_of(error: CallError) -> Fate:
    """
    Return what *error* means for a signal that it is about.
    """
    if error.code is StatusCode.ALREADY_EXISTS:
        return Fate.DUPLICATE
    if error.code in REFUSALS or error.reason == TOO_LARGE:
        return Fate.REJECT
    if error.code is StatusCode.RESOURCE_EXHAUSTED:
        return Fate.LEAVE if error.retry_after_s is None else Fate.RETRY
    if error.code in RETRYABLE and not isinstance(error, Overdue):
        return Fate.RETRY
    return Fate.LEAVE


def concerns_one(error: CallError) -> bool:
    """
    Tell whether an error is about a signal and says nothing against RiskCast.
    """
    return fate_of(error) in {Fate.DUPLICATE, Fate.REJECT}


def is_final(answer: Outcome | CallError) -> bool:
    """
    Tell whether RiskCast has said what becomes of a signal.
    """
    return isinstance(answer, Outcome) or concerns_one(answer)


def outcome_of(error: CallError) -> Outcome:
    """
    Return the outcome of a signal whose error is not retried.
    """
    match fate_of(error):
        case Fate.DUPLICATE:
            return Outcome(pb.EMIT_STATUS_DUPLICATE, error.metadata.get("ack_id", ""), told(error))
        case Fate.REJECT:
            detail = f"{told(error)}; kept as a dead letter."
            return Outcome(pb.EMIT_STATUS_REJECTED, "", detail, error.reason, error.message)
        case _:
            return left(told(error), error.reason, error.message)


def told(error: CallError) -> str:
    """
    Return what RiskCast said as the beginning of a sentence. Its words are quoted: they are not about OMEN's caller.
    """
    if error.code is StatusCode.UNAVAILABLE and not error.reason:  # grpc's own words, about sockets.
        return "RiskCast cannot be reached"
    named = f"{error.code.name} {error.reason}".rstrip()
    return f"RiskCast answered {named}: {clip(error.message).rstrip('.')!r}"


def first_error(answers: Sequence[Outcome | CallError]) -> CallError | None:
    """
    Return the first error among *answers*.
    """
    return next((answer for answer in answers if isinstance(answer, CallError)), None)


class Overdue(DeadlineExceeded):
    """
    An attempt that did not end when its time was up. It is the last one of its call.
    """


def overdue(limits: DeliveryLimits) -> Overdue:
    """
    Return the error of an attempt that was given up by force.
    """
    waited_s = limits.timeout_s + limits.overdue_s
    return Overdue("", StatusCode.DEADLINE_EXCEEDED, f"no answer and no end within {waited_s:g} s")
