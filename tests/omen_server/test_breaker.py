from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen_server.breaker import Breaker, BreakerState


@dataclass
class Clock:
    """
    A clock that moves when it is told to.
    """

    now_s: float = 1_000.0

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """
    Return a clock at rest.
    """
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """
    Return a closed breaker.
    """
    return Breaker(monotonic=clock)


def ask(breaker: Breaker) -> int:
    """
    Return a permit that must be given.
    """
    permit = breaker.ask()
    assert permit is not None
    return permit


def fail(breaker: Breaker, times: int = 1) -> None:
    """
    Let so many calls fail, one after the other.
    """
    for _ in range(times):
        breaker.fail(ask(breaker), "no answer")


def test_opens_at_the_fifth_failure_in_a_row(breaker: Breaker) -> None:
    """
    Four failures leave it closed; the fifth opens it, and no call gets a permit.
    """
    fail(breaker, 4)
    assert breaker.view().state is BreakerState.CLOSED
    fail(breaker)
    assert breaker.view().state is BreakerState.OPEN
    assert breaker.ask() is None


def test_success_starts_the_row_anew(breaker: Breaker) -> None:
    """
    Failures count in a row: one success between them and five more are needed.
    """
    fail(breaker, 4)
    breaker.succeed(ask(breaker))
    fail(breaker, 4)
    assert breaker.view().state is BreakerState.CLOSED


def test_half_of_the_latest_calls(breaker: Breaker) -> None:
    """
    Half of ten calls within a minute opens it, though never five failed in a row.
    """
    for _ in range(4):
        breaker.succeed(ask(breaker))
        fail(breaker)
    breaker.succeed(ask(breaker))
    assert breaker.view().state is BreakerState.CLOSED  # Four of nine, and too few calls to judge by.
    fail(breaker)
    assert breaker.view().state is BreakerState.OPEN


def test_just_below_half(breaker: Breaker) -> None:
    """
    Nine of nineteen is no reason.
    """
    for _ in range(9):
        breaker.succeed(ask(breaker))
        breaker.succeed(ask(breaker))
    for _ in range(3):
        fail(breaker, 3)
        breaker.succeed(ask(breaker))
    assert breaker.view().state is BreakerState.CLOSED


@pytest.mark.parametrize(("later_s", "state"), [(59.0, BreakerState.OPEN), (60.0, BreakerState.CLOSED)])
def test_window(breaker: Breaker, clock: Clock, later_s: float, state: BreakerState) -> None:
    """
    What lies a whole minute back is forgotten, one second less is not.
    """
    fail(breaker, 4)
    for _ in range(5):
        breaker.succeed(ask(breaker))
    clock.now_s += later_s
    fail(breaker)
    assert breaker.view().state is state


@pytest.mark.parametrize(("later_s", "state"), [(29.9, BreakerState.OPEN), (30.0, BreakerState.HALF_OPEN)])
def test_stays_open(breaker: Breaker, clock: Clock, later_s: float, state: BreakerState) -> None:
    """
    It stays open for 30 s, and says how long that still is.
    """
    fail(breaker, 5)
    clock.now_s += later_s
    assert breaker.view().state is state
    assert breaker.view().retry_after_s == pytest.approx(30.0 - later_s)


def test_one_probe(breaker: Breaker, clock: Clock) -> None:
    """
    Half-open lets one call through; its success closes the breaker, and everything before is forgotten.
    """
    fail(breaker, 5)
    clock.now_s += 30
    probe = ask(breaker)
    assert breaker.ask() is None
    breaker.succeed(probe)
    assert breaker.view().state is BreakerState.CLOSED
    fail(breaker, 4)
    assert breaker.view().state is BreakerState.CLOSED


def test_closed_anew(breaker: Breaker, clock: Clock) -> None:
    """
    Once closed again, the calls from before count in no share either.
    """
    fail(breaker, 5)
    clock.now_s += 30
    breaker.succeed(ask(breaker))
    for _ in range(4):
        breaker.succeed(ask(breaker))
    fail(breaker)
    assert breaker.view().state is BreakerState.CLOSED


def test_probe_fails(breaker: Breaker, clock: Clock) -> None:
    """
    A probe that fails opens it for another 30 s.
    """
    fail(breaker, 5)
    clock.now_s += 30
    fail(breaker)
    assert breaker.view().state is BreakerState.OPEN
    assert breaker.view().consecutive_failures == 6
    clock.now_s += 29.9
    assert breaker.ask() is None
    clock.now_s += 0.1
    ask(breaker)


def test_probe_given_back(breaker: Breaker, clock: Clock) -> None:
    """
    A probe that was cancelled tells nothing, and makes room for the next.
    """
    fail(breaker, 5)
    clock.now_s += 30
    breaker.give_back(ask(breaker))
    assert breaker.view().state is BreakerState.HALF_OPEN
    ask(breaker)


def test_probe_that_never_reports(breaker: Breaker, clock: Clock) -> None:
    """
    A probe that is never heard of again blocks the way for 30 s, not for ever, and what it says later is ignored.
    """
    fail(breaker, 5)
    clock.now_s += 30
    lost = ask(breaker)
    clock.now_s += 29.9
    assert breaker.ask() is None
    assert breaker.view().retry_after_s == pytest.approx(0.1)
    clock.now_s += 0.1
    probe = ask(breaker)
    breaker.fail(lost, "too late")
    assert breaker.view().state is BreakerState.HALF_OPEN
    breaker.succeed(probe)
    assert breaker.view().state is BreakerState.CLOSED


def test_reports_from_before(breaker: Breaker, clock: Clock) -> None:
    """
    Calls that began before it opened decide nothing after: not while it is open, nor half-open, nor closed again.
    """
    early = [ask(breaker) for _ in range(4)]
    fail(breaker, 5)
    breaker.succeed(early.pop())
    assert breaker.view().state is BreakerState.OPEN
    clock.now_s += 30
    breaker.succeed(early.pop())
    assert breaker.view().state is BreakerState.HALF_OPEN
    probe = ask(breaker)
    breaker.fail(early.pop())
    assert breaker.view().state is BreakerState.HALF_OPEN
    breaker.succeed(probe)
    breaker.fail(early.pop())
    assert breaker.view().consecutive_failures == 0


def test_half_open_from_outside(breaker: Breaker) -> None:
    """
    Whoever knows that the other side is back need not wait; a closed breaker stays closed.
    """
    breaker.half_open()
    assert breaker.view().state is BreakerState.CLOSED
    fail(breaker, 5)
    breaker.half_open()
    assert breaker.view().state is BreakerState.HALF_OPEN
    probe = ask(breaker)
    breaker.half_open()
    assert breaker.ask() is None  # A second knock lets no second probe in.
    breaker.succeed(probe)
    assert breaker.view().state is BreakerState.CLOSED


def test_view(breaker: Breaker, clock: Clock) -> None:
    """
    The view tells the state, since when, what failed last, and when to come back.
    """
    fail(breaker, 5)
    clock.now_s += 12
    view = breaker.view()
    assert (view.state, view.consecutive_failures, view.last_failure) == (BreakerState.OPEN, 5, "no answer")
    assert (view.retry_after_s, view.state_age_s) == (18.0, 12.0)
    clock.now_s += 20
    assert breaker.view().state_age_s == 2.0  # Half-open since the 30 s were over, not since somebody looked.
    assert breaker.view().retry_after_s == 0.0


@dataclass
class Model:
    """
    The same rules over a plain list of everything that ever happened.
    """

    now_s: int = 0
    state: str = "closed"
    since_s: int = 0
    in_a_row: int = 0
    ended: deque[tuple[int, bool]] = field(default_factory=deque)

    def look(self) -> None:
        """
        Let time do what it does.
        """
        if self.state == "open" and self.now_s >= self.since_s + 30:
            self.state = "half_open"

    def report(self, went_well: bool) -> None:
        """
        Take in the end of a call that was permitted just now.
        """
        self.in_a_row = 0 if went_well else self.in_a_row + 1
        if self.state == "half_open":
            self.state, self.since_s = ("closed" if went_well else "open"), self.now_s
            self.ended.clear()
            return
        self.ended.append((self.now_s, went_well))
        latest = [well for at_s, well in self.ended if at_s > self.now_s - 60]
        bad = len(latest) >= 10 and latest.count(False) * 2 >= len(latest)
        if not went_well and (self.in_a_row >= 5 or bad):
            self.state, self.since_s = "open", self.now_s
            self.ended.clear()


STEPS = st.sampled_from(["ok", "ok", "fail", "fail", "fail", "cancel", "knock", "1", "20", "30"])


@given(st.lists(STEPS, max_size=120))
def test_against_a_model(steps: list[str]) -> None:
    """
    Whatever happens in whatever order, the breaker does what the plain rules say.
    """
    clock, model = Clock(0.0), Model()
    breaker = Breaker(monotonic=clock)
    for step in steps:
        if step.isdigit():
            clock.now_s += int(step)
            model.now_s += int(step)
        model.look()
        if step == "knock":
            breaker.half_open()
            model.state = "half_open" if model.state == "open" else model.state
        if step in {"ok", "fail", "cancel"}:
            permit = breaker.ask()
            assert (permit is None) == (model.state == "open")
            if permit is not None and step == "cancel":
                breaker.give_back(permit)
            elif permit is not None:
                (breaker.succeed if step == "ok" else breaker.fail)(permit)
                model.report(step == "ok")
        assert breaker.view().state.value == model.state
        assert breaker.view().consecutive_failures == model.in_a_row
