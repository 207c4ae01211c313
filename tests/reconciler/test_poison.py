"""
Signals that RiskCast refuses for good: parked with their reasons, tried a little, and never in the way of the others.
"""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from omen_client import CallError
from reconciler import parking
from reconciler.reconcile import Wish
from reconciler.rounds import Target
from reconciler.state import PARK_ATTEMPTS
from tests.ledgers import signal_id
from tests.reconciler.far_side import closed
from tests.reconciler.world import DAY, World, status, world

SIZES = [(1_000, 100), pytest.param(10_000, 1_000, marks=pytest.mark.prove)]


def sent(at: World) -> Counter[str]:
    """
    Return how often each signal was sent since the last time, and forget it.
    """
    counted = Counter(name for batch in at.far.door.batches for name in batch)
    at.far.door.batches.clear()
    return counted


async def poisoned(at: World, numbers: range, poison: range) -> set[str]:
    """
    Have a sealed day in the ledger, none of it at RiskCast, and some that RiskCast will not take.
    """
    await at.append(numbers, hot=[])
    await at.seal()
    at.far.door.poison = {signal_id(number) for number in poison}
    return set(at.far.door.poison)


@pytest.mark.parametrize(("missing", "poisonous"), SIZES)
@pytest.mark.timeout(300)
async def test_poison_does_not_starve_the_rest(tmp_path: Path, missing: int, poisonous: int) -> None:
    """
    Every tenth of what is missing is refused: all others arrive in the first run, the refused are parked with their
    reason after three attempts, and of later runs' effort at most a tenth, or ten, goes to them.
    """
    async with world(tmp_path) as at:
        poison = await poisoned(at, range(1, missing + 1), range(10, missing + 1, 10))
        assert len(poison) == poisonous
        result = await at.one()
        assert (status(result), result.replayed_count) == (("PARTIAL", "parked"), missing - poisonous)
        assert (result.remaining_count, set(at.far.acks()) & poison) == (poisonous, set())
        assert set(result.failed_ids) == set(sorted(poison)[:1000])
        tries = sent(at)
        assert {tries[name] for name in poison} == {PARK_ATTEMPTS}
        assert {tries[name] for name in tries if name not in poison} == {1}
        page = await at.state.parked.page(DAY, False, 0, 1000)
        assert len(page) == poisonous
        assert {(each.attempts, each.reason, each.code) for _, each in page} == {(3, "INVALID_FIELDS", 3)}
        await again_with_more(at, poison, missing)


async def again_with_more(at: World, poison: set[str], missing: int) -> None:
    """
    Hold that later runs spend little on poison, in turn, and everything on what is new.
    """
    tried: set[str] = set()
    for _ in range(3):
        at.clock.now += timedelta(seconds=30)
        assert status(await at.one()) == ("PARTIAL", "parked")
        tries = sent(at)
        assert sum(tries.values()) == 10
        assert not tried & tries.keys()
        tried |= tries.keys()
    lost = [signal_id(number) for number in range(1, missing // 2, 2)][:200]
    for name in lost:
        at.far.lose(name)
    result = await at.one()
    assert set(result.replayed_ids) == set(lost)
    assert sum(tries for name, tries in sent(at).items() if name in poison) == len(lost) // 10


async def test_what_is_cured_arrives_by_itself(tmp_path: Path) -> None:
    """
    A parked signal that RiskCast takes after all is brought by a later run, and forgotten; then all is proven.
    """
    async with world(tmp_path) as at:
        await poisoned(at, range(1, 21), range(5, 8))
        assert status(await at.one()) == ("PARTIAL", "parked")
        assert await at.state.parked.count(DAY) == 3
        at.far.door.poison.clear()
        result = await at.one()
        assert (status(result), result.replayed_count) == (("COMPLETED", ""), 3)
        assert await at.state.parked.count(DAY) == 0


async def test_what_arrives_on_another_way_is_forgotten(tmp_path: Path) -> None:
    """
    A parked signal that the hot path brings after all is not parked any more, and nobody sends it again.
    """
    async with world(tmp_path) as at:
        poison = await poisoned(at, range(1, 21), range(5, 8))
        assert status(await at.one()) == ("PARTIAL", "parked")
        at.far.door.poison.clear()
        await at.push([each for each in await at.records(DAY) if each.signal_id in poison])
        sent(at)
        result = await at.one()
        assert (status(result), result.replayed_count) == (("COMPLETED", ""), 0)
        assert not sent(at)
        assert await at.state.parked.count(DAY) == 0


async def test_parked_ones_are_replayed_by_their_ids(tmp_path: Path) -> None:
    """
    Exactly those that are named are sent; a wrong count and an unknown id are refused before anything is sent.
    """
    async with world(tmp_path) as at:
        poison = sorted(await poisoned(at, range(1, 21), range(5, 9)))
        await at.one()
        sent(at)
        at.far.door.poison = {poison[1]}
        for wrong in (1, 3):
            with pytest.raises(CallError) as caught:
                await at.parking.replay(poison[:2], wrong)
            assert caught.value.reason == "COUNT_MISMATCH"
        with pytest.raises(CallError) as caught:
            await at.parking.replay([poison[0], signal_id(1)], 0)
        assert (caught.value.reason, caught.value.metadata["signal_id"]) == ("PARKED_SIGNAL_NOT_FOUND", signal_id(1))
        assert not sent(at)
        done = await at.parking.replay(poison[:2], 2)
        assert (done.delivered, done.refused) == (1, 1)
        assert sent(at) == Counter(poison[:2])
        left = {each.signal_id: each.attempts for _, each in await at.state.parked.page(DAY, False, 0, 10)}
        assert left == {poison[1]: 4, poison[2]: 3, poison[3]: 3}
        done = await at.parking.replay([], 3)
        assert (done.delivered, done.refused) == (2, 1)

        def trouble(_when: str) -> None:
            raise closed()

        at.far.door.trouble = trouble
        with pytest.raises(CallError) as caught:
            await at.parking.replay([], 0)
        assert caught.value.reason == "PEER_UNAVAILABLE"
        assert (await at.state.parked.of(DAY, None))[0].attempts == 5


async def test_more_are_parked_than_a_page_or_a_batch_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    However many are refused, each is kept; however many are parked, each is found by its id and forgotten on arrival.
    """
    monkeypatch.setattr(parking, "BATCH_MAX", 2)
    monkeypatch.setattr(parking, "PAGE", 2)
    async with world(tmp_path) as at:
        poison = await poisoned(at, range(1, 9), range(2, 7))
        assert status(await at.one()) == ("PARTIAL", "parked")
        assert {each.signal_id for each in await at.state.parked.of(DAY, None)} == poison
        assert {each.signal_id for each in await at.parking.check(sorted(poison))} == poison
        at.far.door.poison.clear()
        assert (await at.parking.replay([], len(poison))).delivered == len(poison)
        assert await at.state.parked.of(DAY, None) == []


async def test_what_is_waived_is_no_longer_missing(tmp_path: Path) -> None:
    """
    A waived signal is not sent again and keeps no run from COMPLETED; it is not at RiskCast, and the count says so.
    """
    async with world(tmp_path) as at:
        (name,) = await poisoned(at, range(1, 11), range(4, 5))
        assert status(await at.one()) == ("PARTIAL", "parked")
        await at.parking.check([name])
        assert await at.state.parked.waive([name], "a test signal") == 1
        sent(at)
        result = await at.one()
        assert (status(result), result.missing_count, result.remaining_count) == (("COMPLETED", ""), 0, 0)
        assert (result.ledger_count, result.processed_count, result.integrity.proven) == (10, 9, True)
        assert not sent(at)
        assert status(await at.one()) == ("SKIPPED", "up_to_date")
        at.far.lose(signal_id(7))
        assert list((await at.one()).replayed_ids) == [signal_id(7)]
        # Somebody changes his mind.
        at.far.door.poison.clear()
        assert (await at.parking.replay([name], 1)).delivered == 1
        assert (await at.one(force=True)).processed_count == 10


async def test_two_refusals_do_not_park(tmp_path: Path) -> None:
    """
    Who is taken at the third attempt was never parked, and is not named as failed.
    """
    async with world(tmp_path) as at:
        await poisoned(at, range(1, 4), range(2, 3))

        def trouble(when: str) -> None:
            if when == "before" and len(at.far.door.batches) == PARK_ATTEMPTS:
                at.far.door.poison.clear()

        at.far.door.trouble = trouble
        result = await at.one()
        assert (status(result), result.replayed_count, list(result.failed_ids)) == (("COMPLETED", ""), 3, [])
        assert await at.state.parked.count() == 0
        await at.rounds.make(Target(), Wish(), at.heard)
