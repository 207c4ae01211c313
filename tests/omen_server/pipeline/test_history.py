from random import Random

from hypothesis import given
from hypothesis import strategies as st

from omen_server.pipeline.attribute import SECOND_NS
from omen_server.pipeline.history import (
    AGE_S_MAX,
    POINTS_MAX,
    SERIES_MAX,
    Point,
    bounded,
    extended,
    key_of,
    point_of,
    swept,
)
from tests.omen_server.pipeline.raw_events import market

NOW_NS = 1_769_594_400 * SECOND_NS
HOUR_NS = 3_600 * SECOND_NS


def test_bounds() -> None:
    """
    The bounds are 168 hours, 1,000 points a series and 100,000 series.
    """
    assert (AGE_S_MAX, POINTS_MAX, SERIES_MAX) == (168 * 3_600, 1_000, 100_000)


def test_age() -> None:
    """
    What is 168 hours old stays, a nanosecond more and it goes.
    """
    edge, beyond = Point(NOW_NS - 168 * HOUR_NS, 0.5), Point(NOW_NS - 168 * HOUR_NS - 1, 0.5)
    assert bounded((beyond, edge), NOW_NS) == (edge,)
    assert extended((edge,), Point(NOW_NS, 0.6), NOW_NS + 1) == (Point(NOW_NS, 0.6),)


def test_points() -> None:
    """
    Of more than 1,000 points the newest stay.
    """
    series = tuple(Point(NOW_NS + at, 0.5) for at in range(1_000))
    assert extended(series, Point(NOW_NS + 1_000, 0.5), NOW_NS) == (*series[1:], Point(NOW_NS + 1_000, 0.5))
    assert extended(series, Point(NOW_NS - 1, 0.5), NOW_NS) == series
    assert len(extended(series[:999], Point(NOW_NS - 1, 0.5), NOW_NS)) == 1_000


@given(st.lists(st.tuples(st.integers(-200, 0), st.sampled_from([0.1, 0.5, 0.9])), max_size=30), st.randoms())
def test_order_is_irrelevant(hours: list[tuple[int, float]], random: Random) -> None:
    """
    The same points in another order, or twice, make the same series.
    """
    points = [Point(NOW_NS + hour * HOUR_NS, value) for hour, value in hours]
    shuffled = [*points, *points[:3]]
    random.shuffle(shuffled)
    one: tuple[Point, ...] = ()
    other: tuple[Point, ...] = ()
    for point in points:
        one = extended(one, point, NOW_NS)
    for point in shuffled:
        other = extended(other, point, NOW_NS)
    assert one == other == tuple(sorted(one))
    assert len(one) <= POINTS_MAX


def test_swept() -> None:
    """
    Empty series go, and of too many those that were seen last stay.
    """
    history = {
        "a": (Point(NOW_NS - 3, 0.1),),
        "b": (Point(NOW_NS - 1, 0.1),),
        "c": (Point(NOW_NS - 200 * HOUR_NS, 0.1),),
        "d": (Point(NOW_NS - 3, 0.2),),
        "e": (),
    }
    assert dict(swept(history, NOW_NS)) == {key: history[key] for key in "abd"}
    assert list(swept(history, NOW_NS, 2)) == ["a", "b"]


def test_key_and_point() -> None:
    """
    A series is of one event of one source; an event without a price leaves no point.
    """
    raw = market()
    assert key_of(raw) == "polymarket/evt-001"
    assert point_of(raw) == Point(NOW_NS, 0.72)
    raw.ClearField("probability")
    assert point_of(raw) is None
