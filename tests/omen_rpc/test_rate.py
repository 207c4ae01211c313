import pytest

from omen_rpc.call import Call
from omen_rpc.keys import Principal
from omen_rpc.rate import RateLimit


class Seconds:
    """
    A clock that the test turns.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.now


def test_burst_then_rate() -> None:
    """
    A caller may take the burst at once, then as much as has come in since, and hears how long the rest takes.
    """
    clock = Seconds()
    rate = RateLimit(per_minute=60, burst=10, monotonic=clock)
    assert rate.take("a", 10) == 0
    assert rate.take("a", 1) == pytest.approx(1.0)
    clock.now += 0.5
    assert rate.take("a", 1) == pytest.approx(0.5)
    clock.now += 0.5
    assert rate.take("a", 1) == 0
    assert rate.take("a", 3) == pytest.approx(3.0)


def test_callers_have_buckets_of_their_own() -> None:
    """
    What one caller uses up is not missing to another.
    """
    rate = RateLimit(per_minute=60, burst=1, monotonic=Seconds())
    assert [rate.take(caller, 1) for caller in ("a", "b")] == [0, 0]
    assert rate.take("a", 1) > 0


def test_refused_costs_nothing() -> None:
    """
    A refusal does not lengthen the wait.
    """
    rate = RateLimit(per_minute=60, burst=5, monotonic=Seconds())
    rate.take("a", 5)
    assert [rate.take("a", 2) for _ in range(5)] == [pytest.approx(2.0)] * 5


def test_bucket_never_holds_more_than_the_burst() -> None:
    """
    A long silence does not save up.
    """
    clock = Seconds()
    rate = RateLimit(per_minute=60, burst=3, monotonic=clock)
    rate.take("a", 1)
    clock.now += 3600
    assert [rate.take("a", 1) == 0 for _ in range(4)] == [True, True, True, False]


def test_cost_above_the_burst_leaves_a_debt() -> None:
    """
    A batch larger than the burst passes when the bucket is full, and is paid for afterwards.
    """
    clock = Seconds()
    rate = RateLimit(per_minute=60, burst=10, monotonic=clock)
    assert rate.take("a", 40) == 0
    assert rate.take("a", 40) == pytest.approx(40.0)
    assert rate.take("a", 1) == pytest.approx(31.0)
    clock.now += 40
    assert rate.take("a", 40) == 0


def test_table_is_bounded_by_the_least_recent() -> None:
    """
    However many callers come, the table does not grow; who was heard of least recently is forgotten first.
    """
    rate = RateLimit(per_minute=60, burst=1, callers_max=2, monotonic=Seconds())
    for caller in ("a", "b", "a", "c"):
        rate.take(caller, 1)
    assert len(rate) == 2
    assert rate.take("a", 1) > 0
    assert rate.take("b", 1) == 0


@pytest.mark.parametrize(
    ("peer", "caller"),
    [
        ("ipv4:10.0.0.7:51234", "ipv4:10.0.0.7"),
        ("ipv6:%5B::1%5D:51234", "ipv6:%5B::1%5D"),
        ("unix:", "unix"),
    ],
)
def test_caller_is_the_host_until_it_has_a_name(peer: str, caller: str) -> None:
    """
    Without a key a caller is its host, not its port, so that a new connection is no new caller; with one, its name.
    """
    call = Call("/m", "r", "", peer)
    assert call.caller == caller
    call.principal = Principal("ops", frozenset({"read"}))
    assert call.caller == "ops"
