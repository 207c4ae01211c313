from datetime import UTC, datetime

from omen_server.activity import Activity

NOW = datetime(2026, 1, 28, tzinfo=UTC)


def test_newest_come_first() -> None:
    """
    Pages go back in time, each entry once, also when others come between two pages.
    """
    activity = Activity(now=lambda: NOW)
    for at in range(5):
        activity.tell("emitted", f"Signal {at}.", signal_id=f"OMEN-{at}", partition="2026-01-28")
    first = activity.page(0, 2)
    activity.tell("sealed", "Sealed.")
    rest = activity.page(first[-1].number, 10)
    assert [each.signal_id for each in (*first, *rest)] == [f"OMEN-{at}" for at in (4, 3, 2, 1, 0)]
    assert (first[0].at, first[0].kind, first[0].text, first[0].partition) == (
        NOW,
        "emitted",
        "Signal 4.",
        "2026-01-28",
    )
    assert activity.page(1, 10) == []


def test_ring_is_bounded() -> None:
    """
    The oldest entries go; a page that begins among them is empty, one that begins before is cut.
    """
    activity = Activity(count_max=3)
    assert activity.page(0, 10) == []
    for at in range(10):
        activity.tell("emitted", "x" * 600, signal_id=f"OMEN-{at}")
    assert [each.number for each in activity.page(0, 10)] == [10, 9, 8]
    assert [each.number for each in activity.page(9, 10)] == [8]
    assert activity.page(5, 10) == []
    assert len(activity.page(0, 1)[0].text.encode()) <= 500
