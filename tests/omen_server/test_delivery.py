import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from grpc import StatusCode

from omen.v1 import signal_service_pb2 as signals
from omen_rpc.errors import CLASSES, CallError
from omen_rpc.position import Position
from omen_server.delivery import Delivery, Overdue
from omen_server.outcomes import Outcome
from omen_server.push_settings import DeliveryLimits
from omen_server.tail import AsRead, Committed
from tests.ledgers import DAY, event

DELIVERED, DUPLICATE = signals.EMIT_STATUS_DELIVERED, signals.EMIT_STATUS_DUPLICATE
LEDGER_ONLY, REJECTED = signals.EMIT_STATUS_LEDGER_ONLY, signals.EMIT_STATUS_REJECTED
OK = Outcome(DELIVERED, "ack")
RETRIED = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "CANCELLED"]
ONE_ATTEMPT = [
    "INVALID_ARGUMENT", "OUT_OF_RANGE", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND", "UNKNOWN",
    "FAILED_PRECONDITION", "DATA_LOSS", "RESOURCE_EXHAUSTED", "ALREADY_EXISTS",
]  # fmt: skip


def error(code: str, retry_after_s: float | None = None, **more: str) -> CallError:
    """
    Return an error of RiskCast's.
    """
    status = StatusCode[code]
    kind = CLASSES.get(status, CallError)
    return kind("", status, "as the test says", retry_after_s=retry_after_s, metadata=more)


def committed(number: int) -> Committed:
    """
    Return the n-th signal.
    """
    position = Position(DAY, (1 << 32) | number, number, number, number - 1, 1)
    return Committed(position, event(number), AsRead(b""), 100)


@dataclass
class Far:
    """
    A RiskCast by script: what each attempt gets; when the script is over, the last line again.
    """

    script: list[CallError | list[Outcome | CallError]]
    attempts: list[list[int]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    well: list[bool] = field(default_factory=list)
    settled: dict[int, Outcome] = field(default_factory=dict)
    go_on: bool = True
    stuck: bool = False

    async def send(self, batch: Sequence[Committed], _timeout_s: float) -> list[Outcome | CallError]:
        """
        Answer by the script.
        """
        if self.stuck:
            await asyncio.Event().wait()
        line = self.script[min(len(self.attempts), len(self.script) - 1)]
        self.attempts.append([item.offset for item in batch])
        if isinstance(line, CallError):
            raise line
        return line

    def settle(self, done: Sequence[tuple[Committed, Outcome]]) -> None:
        """
        Keep outcomes; nobody gets two.
        """
        for item, outcome in done:
            assert item.offset not in self.settled
            self.settled[item.offset] = outcome

    async def pause(self, seconds: float) -> bool:
        """
        Wait for no time at all.
        """
        self.pauses.append(seconds)
        return self.go_on

    async def deliver(
        self, count: int = 1, share: float = 1.0, limits: DeliveryLimits | None = None
    ) -> CallError | None:
        """
        Make one call for so many signals.
        """
        delivery = Delivery(
            self.send,
            limits or DeliveryLimits(),
            settle=self.settle,
            attempted=self.well.append,
            pause=self.pause,
            share=lambda: share,
        )
        why = await delivery.deliver([committed(number) for number in range(1, count + 1)])
        assert sorted(self.settled) == list(range(1, count + 1))
        return why


@pytest.mark.parametrize("code", RETRIED)
async def test_retry_config_used(code: str) -> None:
    """
    Five attempts with doubling pauses between them, then the signal stays in the ledger and the call has failed.
    """
    far = Far([error(code)])
    why = await far.deliver()
    assert why is not None
    assert len(far.attempts) == 5
    assert far.pauses == [0.1, 0.2, 0.4, 0.8]
    assert far.well == [False] * 5
    assert far.settled[1].status == LEDGER_ONLY
    assert ("cannot be reached" if code == "UNAVAILABLE" else code) in far.settled[1].detail


@pytest.mark.parametrize("code", ONE_ATTEMPT)
async def test_lasting_errors_are_not(code: str) -> None:
    """
    One attempt and no more; what is wrong with the signal rejects it, what is wrong with the call does not.
    """
    far = Far([error(code)])
    why = await far.deliver()
    status = {"INVALID_ARGUMENT": REJECTED, "OUT_OF_RANGE": REJECTED, "ALREADY_EXISTS": DUPLICATE}.get(
        code, LEDGER_ONLY
    )
    assert len(far.attempts) == 1
    assert far.settled[1].status == status
    assert (why is None) == (status != LEDGER_ONLY)
    assert far.well == [status != LEDGER_ONLY]


async def test_pauses_end_at_ten_seconds() -> None:
    """
    The pause doubles to ten seconds and no further, and a random share of it is waited.
    """
    far = Far([error("UNAVAILABLE")])
    await far.deliver(limits=DeliveryLimits(attempts_max=10), share=0.5)
    assert far.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_pushback_is_honoured() -> None:
    """
    Never sooner than RiskCast asks, for a full limit too; one that asks for longer than a call may wait ends the call.
    """
    far = Far([error("RESOURCE_EXHAUSTED", 3.0), error("UNAVAILABLE", 0.01), error("UNAVAILABLE", 11.0)])
    why = await far.deliver()
    assert far.pauses == [3.0, 0.2]
    assert why is not None
    assert far.settled[1].status == LEDGER_ONLY


async def test_success_after_failures() -> None:
    """
    What comes through at the fourth attempt is delivered, and the call went well.
    """
    far = Far([error("UNAVAILABLE"), error("ABORTED"), error("INTERNAL"), [OK]])
    assert await far.deliver() is None
    assert far.settled == {1: OK}
    assert far.well == [False, False, False, True]


async def test_breaker_ends_a_call() -> None:
    """
    When there is to be no other attempt, the signals are left at once.
    """
    far = Far([error("UNAVAILABLE")], go_on=False)
    assert await far.deliver(3) is not None
    assert far.attempts == [[1, 2, 3]]
    assert {outcome.status for outcome in far.settled.values()} == {LEDGER_ONLY}


async def test_items_go_their_own_ways() -> None:
    """
    In one batch: stored, duplicate, refused, not allowed, and two that go again, of which one comes through.
    """
    first: list[Outcome | CallError] = [
        OK,
        Outcome(DUPLICATE, "a"),
        error("INVALID_ARGUMENT"),
        error("PERMISSION_DENIED"),
        *[error("ABORTED")] * 2,
    ]
    second: list[Outcome | CallError] = [error("UNAVAILABLE"), OK]
    far = Far([first, second, error("RESOURCE_EXHAUSTED")])
    assert await far.deliver(6) is None
    assert far.attempts == [[1, 2, 3, 4, 5, 6], [5, 6], [5]]
    statuses = [far.settled[number].status for number in range(1, 7)]
    assert statuses == [DELIVERED, DUPLICATE, REJECTED, LEDGER_ONLY, LEDGER_ONLY, DELIVERED]


async def test_auth_error_rejects_nobody() -> None:
    """
    An error of the call leaves all of its signals to the reconciler after one attempt.
    """
    far = Far([error("UNAUTHENTICATED")])
    assert await far.deliver(4) is not None
    assert len(far.attempts) == 1
    assert {outcome.status for outcome in far.settled.values()} == {LEDGER_ONLY}


async def test_attempt_that_never_ends() -> None:
    """
    An attempt older than its time and the grace is terminal: no other follows, and its signals are left.
    """
    far = Far([[OK, OK]], stuck=True)
    why = await far.deliver(2, limits=DeliveryLimits(timeout_s=0.01, overdue_s=0.01))
    assert isinstance(why, Overdue)
    assert far.well == [False]
    assert {outcome.status for outcome in far.settled.values()} == {LEDGER_ONLY}
