"""
What every engine's `PositionStore` must do: `exercise_store.py` for the other half of the contract.
"""

from random import Random, getrandbits
from typing import Final

import pytest

from omen.v1.position_pb2 import BlockFingerprint, IndexRange
from omen_rpc.signal_codec import fold, position_hash
from riskcast_server.store import INDEX_MAX, Store
from tests.contracts.arrivals import DAY, arrival, run, signal_id
from tests.contracts.exercise_store import Exercise, Opener
from tests.contracts.memory_store import Memory, open_memory


async def coverage_says_what_is_missing(opened: Opener) -> None:
    """
    Coverage names what is missing and what is recoverable, and fingerprints the rest.
    """
    async with opened() as store:
        sent = [*run(1, 4), *run(7, 8), *run(10, 12), arrival(15, 15)]
        await store.signals.put(sent)
        gaps = [IndexRange(first=8, last=10), IndexRange(first=5, last=5)]
        answer = await store.positions.coverage(DAY, 0, 14, ledger_gaps=gaps)
        stats = await store.signals.stats()
    assert [(each.first, each.last) for each in answer.missing] == [(6, 6), (13, 14)]
    assert [(each.first, each.last) for each in answer.recoverable] == [(8, 8), (10, 10)]
    assert (answer.count, answer.through_index, answer.next_index, answer.max_index) == (7, 14, 0, 15)
    assert answer.store_epoch == stats.store_epoch != ""
    counted = [each for each in sent if each.ledger_index in (1, 2, 3, 4, 7, 11, 12)]
    expected = fold(position_hash(DAY, each.ledger_index, each.signal_id, each.content_digest) for each in counted)
    assert (answer.fingerprint_hi, answer.fingerprint_lo) == expected


async def coverage_of_nothing(opened: Opener) -> None:
    """
    A partition nobody has heard of is missing as one range, however long; an empty range is covered.
    """
    async with opened() as store:
        answer = await store.positions.coverage("2000-01-01", 1, INDEX_MAX)
        empty = await store.positions.coverage("2000-01-01", 5, 4)
        with pytest.raises(ValueError, match="positions go"):
            await store.positions.coverage("2000-01-01", 1, INDEX_MAX + 1)
    assert [(each.first, each.last) for each in answer.missing] == [(1, INDEX_MAX)]
    assert (answer.count, answer.max_index, answer.fingerprint_hi) == (0, 0, 0)
    assert (list(empty.missing), empty.count, empty.next_index) == ([], 0, 0)


async def coverage_is_the_set_difference(opened: Opener) -> None:
    """
    Over small random histories, coverage is the plain set difference: with gaps, cut by ranges, and continued.
    """
    random = Random(getrandbits(32))  # From the seed that pytest prints.
    async with opened() as store, open_memory(Memory()) as naive:
        for history in range(150):
            partition = f"{2000 + history // 28}-01-{history % 28 + 1:02d}"
            held = sorted(random.sample(range(1, 41), random.randint(0, 40)))
            sent = [arrival(history * 100 + index, index, partition=partition) for index in held]
            await store.signals.put(sent)
            await naive.signals.put(sent)
            for _ in range(4):
                await _agree(store, naive, partition, random, 45)


async def coverage_over_blocks(opened: Opener) -> None:
    """
    So it is over histories that fill blocks: at their edges, inside them, from the cache and past it.
    """
    random = Random(getrandbits(32))  # From the seed that pytest prints.
    async with opened() as store, open_memory(Memory()) as naive:
        for history in range(4):
            partition = f"2026-02-0{history + 1}"
            rest = list(range(1, 3 * 1024 + 100))
            for _ in range(6):
                await _agree(store, naive, partition, random, 3 * 1024 + 100)
                taken, rest = _some(rest, random)
                sent = [arrival(history * 10_000 + index, index, partition=partition) for index in taken]
                await store.signals.put(sent)
                await naive.signals.put(sent)
            for _ in range(25):
                await _agree(store, naive, partition, random, 3 * 1024 + 100)
                await store.signals.put([])


async def compare_names_blocks_that_differ(opened: Opener) -> None:
    """
    Of the ledger's blocks those are returned that differ from what is held, as it is held, also in a block cut short.
    """
    async with opened() as store, open_memory(Memory()) as naive:
        sent = [each for each in run(1, 3000) if each.ledger_index not in (1500, 1501)]
        await store.signals.put(sent)
        await naive.signals.put(sent)
        for through in (3000, 2048, 2500, 1024, 1023, 5000) * 2:
            blocks = [BlockFingerprint(block=block, count=block) for block in range(6)]
            answer = await store.positions.compare(DAY, through, blocks)
            truth = await naive.positions.compare(DAY, through, blocks)
            assert list(answer.differing) == list(truth.differing)
            assert list((await store.positions.compare(DAY, through, truth.differing)).differing) == []
            await store.signals.put([])
        nothing = [BlockFingerprint(block=block) for block in range(2)]
        first, second = (await store.positions.compare(DAY, 3000, nothing)).differing
        wrong = BlockFingerprint(block=0, count=1024, fingerprint_hi=first.fingerprint_hi, fingerprint_lo=7)
        answer = await store.positions.compare(DAY, 3000, [wrong, second])
        stats = await store.signals.stats()
    assert (first.count, second.count) == (1024, 1022)
    assert list(answer.differing) == [first]
    assert answer.store_epoch == stats.store_epoch


async def positions_are_listed(opened: Opener) -> None:
    """
    A range's positions are listed ascending with their signals' acks; a range that is too long is refused.
    """
    async with opened() as store:
        receipts = await store.signals.put(run(5, 9))
        listed = await store.positions.positions(DAY, 6, 2053)
        nothing = await store.positions.positions("2000-01-01", 1, 10)
        with pytest.raises(ValueError, match="at most 2048"):
            await store.positions.positions(DAY, 6, 2054)
    assert [(each.index, each.signal_id, each.ack_id) for each in listed] == [
        (index, signal_id(index), receipts[index - 5].ack_id) for index in range(6, 10)
    ]
    assert nothing == []


async def a_claim_that_fails_takes_nothing_away(opened: Opener) -> None:
    """
    A signal that comes again, for a position that another holds, keeps the one it has: it is not counted as without.
    """
    async with opened() as store:
        await store.signals.put(run(1, 2))
        await store.signals.put([arrival(1, 2), arrival(3, 2)])
        answer = await store.positions.coverage(DAY, 1, 2)
        held = await store.positions.positions(DAY, 1, 2)
    assert (answer.count, answer.unpositioned) == (2, 1)
    assert [each.signal_id for each in held] == [signal_id(1), signal_id(2)]


async def _agree(store: Store, naive: Store, partition: str, random: Random, last: int) -> None:
    """
    Compare one random question's answers, then go on where they were cut, some times at least.
    """
    edges = [edge for block in range(4) for edge in (block * 1024, block * 1024 + 1) if edge <= last]
    first = random.choice([0, 1, 1, random.randint(1, last), random.choice(edges)])
    through = random.choice([last, random.randint(0, last), random.choice(edges)])
    gaps = []
    for _ in range(random.choice([0, 0, 1, 3])):
        low = random.randint(1, last)
        gaps.append(IndexRange(first=low, last=low + random.choice([0, 1, 5, 1500])))
    max_ranges = random.choice([1, 2, 5, 1000])
    for _ in range(8):
        answers = [
            await each.positions.coverage(
                partition,
                first,
                through,
                ledger_gaps=gaps,
                max_ranges=max_ranges,
                bypass_cache=random.random() < 0.2,
            )
            for each in (store, naive)
        ]
        for answer in answers:
            answer.store_epoch = ""
        asked = f"{partition} {first}..{through}, gaps {[(gap.first, gap.last) for gap in gaps]}, {max_ranges} ranges"
        assert answers[0] == answers[1], asked
        first = answers[0].next_index
        if not first:
            break


def _some(rest: list[int], random: Random) -> tuple[list[int], list[int]]:
    """
    Take a run, a sprinkle, or everything from what is left.
    """
    match random.choice(("run", "sprinkle", "but a few", "everything")):
        case "run":
            at = random.randint(0, len(rest))
            taken = rest[at : at + 1100]
        case "sprinkle":
            taken = sorted(random.sample(rest, min(len(rest), 200)))
        case "but a few":
            few = set(random.sample(rest, min(len(rest), 3)))
            taken = [index for index in rest if index not in few]
        case _:
            taken = rest
    return taken, sorted(set(rest) - set(taken))


POSITION_EXERCISES: Final[list[Exercise]] = [
    coverage_says_what_is_missing,
    coverage_of_nothing,
    coverage_is_the_set_difference,
    coverage_over_blocks,
    compare_names_blocks_that_differ,
    positions_are_listed,
    a_claim_that_fails_takes_nothing_away,
]
