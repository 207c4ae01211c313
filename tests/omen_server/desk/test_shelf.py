from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from omen_server.desk.shelf import Shelf, added, at_least
from omen_server.pipeline.snapshot import peer_of
from tests.omen_server.pipeline.raw_events import RULES, report

SETS = st.lists(st.sets(st.integers(0, 40)), max_size=12)


@given(SETS, st.integers(1, 14))
def test_counting_by_digits(sets: list[set[int]], least: int) -> None:
    """
    What the digits say is what counting one by one says.
    """
    counts = Counter(member for each in sets for member in each)
    found = at_least(added(sum(1 << member for member in each) for each in sets), least)
    assert {at for at in range(64) if found >> at & 1} == {at for at, count in counts.items() if count >= least}


def test_slots_are_given_again() -> None:
    """
    However many come and go, the shelf has no more slots than it held at once, and finds nobody who left.
    """
    shelf = Shelf()
    for at in range(100):
        shelf.put(peer_of(report(f"Suez number {at}", source_event_id=f"r{at}"), RULES), at)
        gone = list(shelf.pop_beyond(5, 0))
        assert gone == ([("unknown", f"r{at - 5}")] if at >= 5 else [])
    slots = at_least(shelf.counted(["suez"]), 1)
    assert slots.bit_length() <= 6
    assert {peer.source_event_id for peer in shelf.peers(slots)} == {f"r{at}" for at in range(95, 100)}
    assert not at_least(shelf.counted(["1"]), 1)
