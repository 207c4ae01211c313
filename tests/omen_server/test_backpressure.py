from dataclasses import dataclass

from omen_server.backpressure import Backpressure


@dataclass
class Clock:
    """
    A clock that moves when it is told to.
    """

    now_s: float = 100.0

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.now_s


def test_grows_from_the_fifth_failure_on() -> None:
    """
    Four failed attempts delay nothing; then 2 s, doubling to a minute, and never more.
    """
    backpressure = Backpressure(monotonic=Clock())
    delays: list[float] = []
    for _ in range(12):
        backpressure.fail()
        delays.append(backpressure.delay_s)
    assert delays == [0, 0, 0, 0, 2, 4, 8, 16, 32, 60, 60, 60]
    for _ in range(5000):
        backpressure.fail()
    assert backpressure.delay_s == 60


def test_backpressure_record_success_resets_failures() -> None:
    """
    One success, and it takes five failures again.
    """
    backpressure = Backpressure(monotonic=Clock())
    for _ in range(9):
        backpressure.fail()
    backpressure.succeed()
    assert backpressure.delay_s == 0
    for _ in range(4):
        backpressure.fail()
    assert backpressure.delay_s == 0
    backpressure.fail()
    assert backpressure.delay_s == 2


def test_counts_from_the_failure() -> None:
    """
    Who comes later waits for the rest only.
    """
    clock = Clock()
    backpressure = Backpressure(monotonic=clock)
    for _ in range(6):
        backpressure.fail()
    clock.now_s += 3
    assert backpressure.delay_s == 1
    clock.now_s += 3
    assert backpressure.delay_s == 0


def test_lifting_keeps_the_count() -> None:
    """
    When it is lifted the next call goes at once, and the next failure delays for longer than the last.
    """
    backpressure = Backpressure(monotonic=Clock())
    for _ in range(6):
        backpressure.fail()
    backpressure.lift()
    assert backpressure.delay_s == 0
    backpressure.fail()
    assert backpressure.delay_s == 8
