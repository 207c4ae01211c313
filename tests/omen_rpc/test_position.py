from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen_rpc.position import pack, unpack
from omen_rpc.signal_codec import (
    BLOCK_POSITIONS,
    CodecError,
    Position,
    block_of,
    fold,
    from_int64,
    position_hash,
    to_int64,
)

DIGEST = "sha256:" + "ab" * 32
HERE = Position(
    partition="2026-01-28", sequence=4294967297, index=1, offset=1, durable_offset=0, written_at=1769594405_000000000
)
GOLDEN = [
    (("2026-01-28", 1, "OMEN-DEMO001ABCD", DIGEST), "51f7fd5939abd2b43276d0569552c865"),
    (("2026-01-28", 2, "OMEN-DEMO001ABCD", DIGEST), "edff11066e4324c2204894d12c0fa08c"),
    (("2026-01-28-late", 1, "OMEN-DEMO008LATE", DIGEST), "fb1a5c2a6518c0feed7caefdffd01405"),
    (("2026-01-28", (1 << 64) - 1, "", ""), "ecf1d850f048349a38a3f165614ccbe1"),
]


@pytest.mark.parametrize(("what", "high_low"), GOLDEN)
def test_position_hash_golden(what: tuple[str, int, str, str], high_low: str) -> None:
    """
    The hash of a position is the same in every process and release, since both sides must agree to the bit.
    """
    high, low = position_hash(*what)
    assert f"{high:016x}{low:016x}" == high_low


def test_position_hash_is_unambiguous() -> None:
    """
    Text that moves from one field to its neighbour changes the hash.
    """
    assert position_hash("a", 1, "bc", "d") != position_hash("a", 1, "b", "cd")
    assert position_hash("2026-01-28", 1, "", "") != position_hash("2026-01-28\0\0\0\0\0\0\0\x01", 1, "", "")


def test_fold() -> None:
    """
    A fingerprint depends on the set alone: not on the order, and a hash folded in twice is gone.
    """
    hashes = [position_hash("2026-01-28", index, "OMEN-DEMO001ABCD", DIGEST) for index in range(1, 100)]
    assert fold(hashes) == fold(reversed(hashes))
    assert fold([fold(hashes), hashes[7]]) == fold(hashes[:7] + hashes[8:])
    assert fold([]) == (0, 0)
    assert fold([(1, 2)]) == (1, 2)


def test_block_of() -> None:
    """
    A block holds 1,024 positions, the first one those from 1.
    """
    assert [block_of(index) for index in (1, 1024, 1025, 2048, 2049)] == [0, 0, 1, 1, 2]
    assert block_of(BLOCK_POSITIONS) + 1 == block_of(BLOCK_POSITIONS + 1)


@given(st.integers(0, (1 << 64) - 1))
def test_int64(unsigned: int) -> None:
    """
    A column of signed integers holds every unsigned one and gives it back.
    """
    assert -(1 << 63) <= to_int64(unsigned) < 1 << 63
    assert from_int64(to_int64(unsigned)) == unsigned


def test_int64_edges() -> None:
    """
    The bits stay as they are: the highest unsigned number is -1.
    """
    assert [to_int64(value) for value in (0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)] == [
        0,
        (1 << 63) - 1,
        -(1 << 63),
        -1,
    ]


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)), max_size=20))
def test_ranges_are_packed_and_unpacked(steps: list[tuple[int, int]]) -> None:
    """
    Ranges of ascending positions come out as they went in, neighbours and position 1 among them.
    """
    ranges, last = [], 0
    for between, following in steps:
        ranges.append((last + between + 1, last + between + 1 + following))
        last = ranges[-1][1]
    numbers = list(pack(ranges))
    assert min(numbers, default=0) >= 0
    assert list(unpack(numbers)) == ranges


def test_a_packed_range_that_is_cut_is_refused() -> None:
    """
    Half a range is no range, and nobody guesses the other half.
    """
    with pytest.raises(ValueError, match="shorter"):
        list(unpack([4, 0, 7]))


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"partition": ""}, "ledger_partition"),
        ({"partition": "2026-01-28-early"}, "ledger_partition"),
        ({"partition": '2026-01-28"'}, "ledger_partition"),
        ({"sequence": 0}, "ledger_sequence"),
        ({"sequence": 1 << 64}, "ledger_sequence"),
        ({"index": 0}, "ledger_index"),
        ({"offset": 0}, "ledger_offset"),
        ({"offset": 1 << 64}, "ledger_offset"),
        ({"durable_offset": -1}, "ledger_durable_offset"),
        ({"written_at": 253_402_300_800_000_000_000}, "ledger_written_at"),
    ],
)
def test_impossible_position(wrong: dict[str, str | int], path: str) -> None:
    """
    A position that no ledger assigns cannot be made, and the error names the field.
    """
    with pytest.raises(CodecError) as refused:
        replace(HERE, **wrong)  # type: ignore[arg-type]  # One table for fields of two types.
    assert refused.value.path == path
