from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from omen_rpc.position import fold
from reconcile.v1 import reconcile_service_pb2 as pb
from reconciler.compare import Held, Sum, clipped, count_of, differences, is_proven, positions_of
from reconciler.comparing import pieces
from tests.ledgers import DAY

LAST = 60
POSITIONS = st.integers(1, LAST)
HELD = st.builds(Held, st.sampled_from("abcdef"), st.sampled_from(["sha256:1", "sha256:2"]))
LEDGER = st.dictionaries(POSITIONS, HELD)
RANGES = st.sets(POSITIONS).map(lambda chosen: ranges_from(sorted(chosen)))


def ranges_from(positions: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """
    Return the maximal ranges that hold exactly these positions, ascending.
    """
    ranges: list[tuple[int, int]] = []
    for each in positions:
        if ranges and ranges[-1][1] == each - 1:
            ranges[-1] = (ranges[-1][0], each)
        else:
            ranges.append((each, each))
    return tuple(ranges)


def sum_of(held: dict[int, Held]) -> Sum:
    """
    Return the sum over all positions.
    """
    return Sum(len(held), *fold(each.hash_at(DAY, index) for index, each in held.items()))


@given(LEDGER, st.data())
def test_what_is_missing_is_excused_and_nothing_else(ledger: dict[int, Held], data: st.DataObject) -> None:
    """
    RiskCast with any part of the ledger is proven but for the rest; with one thing other, too much or less, it is not.
    """
    kept = data.draw(st.sets(st.sampled_from(sorted(ledger))) if ledger else st.just(set()))
    stored = {index: ledger[index] for index in kept}
    excused = [each.hash_at(DAY, index) for index, each in ledger.items() if index not in kept]
    assert is_proven(sum_of(ledger), sum_of(stored), excused)
    index, held = data.draw(POSITIONS), data.draw(HELD)
    if stored.get(index) != held:
        assert not is_proven(sum_of(ledger), sum_of(stored | {index: held}), excused)
    if stored:
        stored.popitem()
        assert not is_proven(sum_of(ledger), sum_of(stored), excused)


@given(LEDGER, LEDGER, RANGES)
def test_every_difference_is_named_once_and_by_its_kind(
    ledger: dict[int, Held], stored: dict[int, Held], gaps: tuple[tuple[int, int], ...]
) -> None:
    """
    Findings are exactly the stored positions that the ledger has otherwise, has lost, or never had; what RiskCast
    lacks is none of them.
    """
    ledger = {index: held for index, held in ledger.items() if index not in set(positions_of(gaps))}
    found = {each.ledger_index: each for each in differences(DAY, ledger, stored, gaps)}
    assert list(found) == sorted(index for index, held in stored.items() if ledger.get(index) != held)
    for index, finding in found.items():
        assert (finding.stored_signal_id, finding.stored_digest) == (
            stored[index].signal_id,
            stored[index].content_digest,
        )
        if index in ledger:
            assert finding.kind == pb.FINDING_KIND_MISMATCH
            assert finding.ledger_signal_id == ledger[index].signal_id
        elif index in set(positions_of(gaps)):
            assert finding.kind == pb.FINDING_KIND_RECOVERABLE
        else:
            assert finding.kind == pb.FINDING_KIND_EXTRA


@given(st.sets(POSITIONS), st.sets(POSITIONS), st.integers(0, LAST))
def test_ranges_hold_what_they_hold(positions: set[int], leaving: set[int], through: int) -> None:
    """
    Ranges give back their positions in order, count them, leave out what is to be, and end where they are clipped.
    """
    ranges = ranges_from(sorted(positions))
    assert list(positions_of(ranges)) == sorted(positions)
    assert list(positions_of(ranges, frozenset(leaving))) == sorted(positions - leaving)
    assert count_of(ranges) == len(positions)
    assert set(positions_of(clipped(ranges, through))) == {each for each in positions if each <= through}


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 5000)), max_size=4))
def test_pieces_are_at_most_a_block_and_lose_nothing(spans: list[tuple[int, int]]) -> None:
    """
    Ranges cut into pieces hold the same positions, at most 1,024 each.
    """
    ranges = [(first, first + more) for first, more in spans]
    cut = list(pieces(ranges))
    assert list(positions_of(cut)) == list(positions_of(ranges))
    assert all(0 <= last - first < 1024 for first, last in cut)
