"""
What every state must do with signals that are refused, and with orders: `test_state.py` runs it as well.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import pytest

from reconcile.v1.reconcile_service_pb2 import ParkedSignal
from reconciler.state import BATCH_MAX, PAGE_MAX, PARK_ATTEMPTS, Attempt, Lease, State, StateLimits
from tests.contracts.exercise_state import DAY, NOON, Exercise, Opener

LATE: Final = f"{DAY}-late"


def attempt(index: int, partition: str = DAY, **fields: Any) -> Attempt:
    """
    Return a refusal of the signal at a position.
    """
    plain: dict[str, Any] = {
        "ledger_sequence": index + 100,
        "signal_id": f"OMEN-{partition}-{index}",
        "code": 3,
        "reason": "ERROR_REASON_INVALID_FIELDS",
        "message": "no",
        "at": NOON,
    }
    return Attempt(partition, index, **(plain | fields))


async def park(opened: State, *indexes: int, partition: str = DAY) -> None:
    """
    Have the signals at these positions refused as often as it takes.
    """
    for _ in range(PARK_ATTEMPTS):
        await opened.parked.count_attempts([attempt(index, partition) for index in indexes])


async def listed(opened: State, partition: str = "", *, waived: bool = True, page: int = 2) -> list[ParkedSignal]:
    """
    Turn all pages of the list.
    """
    found: list[ParkedSignal] = []
    after = 0
    while items := await opened.parked.page(partition, waived, after, page):
        assert len(items) <= page
        found += [each for _, each in items]
        numbers = [number for number, _ in items]
        assert numbers == sorted(numbers)
        after = numbers[-1]
    return found


def places(signals: Sequence[ParkedSignal]) -> list[tuple[str, int]]:
    """
    Return where the signals lie.
    """
    return [(each.partition, each.ledger_index) for each in signals]


async def parks_at_the_third_refusal(opened: Opener) -> None:
    """
    A signal is listed from its third refusal on, with the first one's time and what the last one said, after a restart.
    """
    async with opened() as kept:
        for nth in range(1, PARK_ATTEMPTS):
            await kept.parked.count_attempts([attempt(1, at=NOON + timedelta(microseconds=nth))])
            assert await listed(kept) == await kept.parked.of(DAY, None) == await kept.parked.of(DAY, [1]) == []
            assert await kept.parked.count() == 0
    async with opened() as kept:
        last = attempt(1, code=9, reason="r", message="m", at=NOON + timedelta(days=1))
        await kept.parked.count_attempts([last, attempt(2)])
        (found,) = await listed(kept)
        expected = ParkedSignal(
            signal_id=last.signal_id,
            partition=DAY,
            ledger_sequence=101,
            ledger_index=1,
            code=9,
            reason="r",
            message="m",
            attempts=PARK_ATTEMPTS,
        )
        expected.parked_at.FromDatetime(NOON + timedelta(microseconds=1))
        expected.last_attempt_at.FromDatetime(last.at)
        assert found == expected
        assert await kept.parked.of(DAY, [1, 2]) == [expected]
        assert await kept.parked.count(DAY) == await kept.parked.count() == 1
        assert await kept.parked.count(LATE) == 0


async def counts_each_of_a_batch(opened: Opener) -> None:
    """
    Several refusals of one position in a batch count each; positions of other partitions are others.
    """
    async with opened() as kept:
        times = [NOON + timedelta(hours=hour) for hour in range(PARK_ATTEMPTS)]
        await kept.parked.count_attempts([attempt(1, at=at) for at in times] + [attempt(1, LATE)])
        (found,) = await listed(kept)
        assert (found.partition, found.attempts) == (DAY, PARK_ATTEMPTS)
        assert found.parked_at.ToDatetime(NOON.tzinfo) == times[0]
        assert found.last_attempt_at.ToDatetime(NOON.tzinfo) == times[-1]
        await kept.parked.count_attempts([attempt(1), attempt(1, LATE), attempt(1, LATE)])
        assert places(await listed(kept)) == [(DAY, 1), (LATE, 1)]
        assert [each.attempts for each in await listed(kept)] == [PARK_ATTEMPTS + 1, PARK_ATTEMPTS]
        await kept.parked.count_attempts([])


async def lists_oldest_first(opened: Opener) -> None:
    """
    Parked signals come in the order in which they were first refused, those of a run by their positions.
    """
    async with opened() as kept:
        await park(kept, 9, 4)
        await park(kept, 7, partition=LATE)
        await park(kept, 1, 2**61)
        order = [(DAY, 9), (DAY, 4), (LATE, 7), (DAY, 1), (DAY, 2**61)]
        for size in (1, 2, PAGE_MAX):
            assert places(await listed(kept, page=size)) == order
            assert places(await listed(kept, LATE, page=size)) == [(LATE, 7)]
        assert places(await kept.parked.of(DAY, None)) == [(DAY, 1), (DAY, 4), (DAY, 9), (DAY, 2**61)]
        assert places(await kept.parked.of(DAY, [9, 1, 3])) == [(DAY, 1), (DAY, 9)]
        assert await kept.parked.of(DAY, []) == await kept.parked.of("", None) == []
        assert await kept.parked.page("2026\0", True, 0, 5) == await kept.parked.page("", True, 2**63, 5) == []


async def forgets_what_was_delivered(opened: Opener) -> None:
    """
    A delivered position is forgotten with its count, parked or not; those of other partitions stay.
    """
    async with opened() as kept:
        await park(kept, 1, 2)
        await park(kept, 1, partition=LATE)
        await kept.parked.count_attempts([attempt(3), attempt(3)])
        await kept.parked.forget(DAY, [1, 3, 99])
        await kept.parked.forget(DAY, [])
        await kept.parked.count_attempts([attempt(3), attempt(1)])
        assert places(await listed(kept)) == [(DAY, 2), (LATE, 1)]


async def waives_with_a_reason(opened: Opener) -> None:
    """
    What is waived is not counted and listed only on request, still spared by runs, and counted when waived again.
    """
    async with opened() as kept:
        await park(kept, 1, 2, 3)
        await kept.parked.count_attempts([attempt(4)])
        ids = [attempt(index).signal_id for index in (1, 2, 4)]
        assert await kept.parked.waive([*ids, "OMEN-NONE", "OMEN\0"], "too old\0") == 2
        assert places(await listed(kept, waived=False)) == [(DAY, 3)]
        assert places(await listed(kept)) == places(await kept.parked.of(DAY, None)) == [(DAY, 1), (DAY, 2), (DAY, 3)]
        assert await kept.parked.count() == await kept.parked.count(DAY) == 1
    async with opened() as kept:
        await kept.parked.count_attempts([attempt(1)])
        assert [each.waived_reason for each in await listed(kept)] == ["too old\N{REPLACEMENT CHARACTER}"] * 2 + [""]
        assert await kept.parked.waive(ids[:1], "said again") == 1
        assert (await listed(kept))[0].waived_reason == "said again"
        with pytest.raises(ValueError, match=r"^.*$"):
            await kept.parked.waive(ids, "")


async def begins_anew_with_another_signal(opened: Opener) -> None:
    """
    A position that holds another signal than before has no refusals but its own, and nobody waived it.
    """
    async with opened() as kept:
        await park(kept, 1)
        await kept.parked.waive([attempt(1).signal_id], "old")
        other = attempt(1, signal_id="OMEN-OTHER")
        await kept.parked.count_attempts([attempt(1), other])
        assert await listed(kept) == []
        await kept.parked.count_attempts([other, other])
        (found,) = await listed(kept, waived=False)
        assert (found.signal_id, found.attempts) == ("OMEN-OTHER", 3)


async def keeps_so_many(opened: Opener) -> None:
    """
    When there are as many refused signals as may be, those go on counting, and new ones wait until there is room.
    """
    async with opened(limits=StateLimits(parked_max=3)) as kept:
        await park(kept, *range(1, 6))
        assert places(await listed(kept)) == [(DAY, 1), (DAY, 2), (DAY, 3)]
        await kept.parked.forget(DAY, [2])
        await park(kept, 6, 1, 7)
        assert places(await listed(kept)) == [(DAY, 1), (DAY, 3), (DAY, 6)]
    async with opened(limits=StateLimits(parked_max=1)) as kept:
        await kept.parked.count_attempts([attempt(8), attempt(1)])
        assert [each.attempts for each in await listed(kept)] == [7, 3, 3]


async def forgets_what_was_not_tried_again(opened: Opener) -> None:
    """
    A signal that was refused, not parked, and not tried for a month is forgotten; a parked one never is.
    """
    async with opened(limits=StateLimits(parked_max=3, refused_days_max=30)) as kept:
        await park(kept, 1)
        await kept.parked.count_attempts([attempt(2), attempt(2)])
        await kept.parked.count_attempts([attempt(3, at=NOON + timedelta(days=30))])
        await kept.parked.count_attempts([attempt(3, at=NOON + timedelta(days=30, microseconds=1))])
        await park(kept, 4)
        await kept.parked.count_attempts([attempt(2)])
        assert places(await listed(kept)) == [(DAY, 1), (DAY, 4)]


async def bounds_batches_and_texts(opened: Opener) -> None:
    """
    Too many at once, and what no row could hold, are refused; what RiskCast said is cut and cleaned.
    """
    many = range(1, BATCH_MAX + 2)
    async with opened() as kept:
        for call in (
            kept.parked.count_attempts([attempt(each) for each in many]),
            kept.parked.forget(DAY, many),
            kept.parked.of(DAY, many),
            kept.parked.waive([str(each) for each in many], "old"),
            kept.parked.page("", True, 0, PAGE_MAX + 1),
        ):
            with pytest.raises(ValueError, match=r"more than|page"):
                await call
        wild = attempt(1, reason="r\ud800" * 900, message="\0é\U0001f30a" * 900)
        await kept.parked.count_attempts([wild] * PARK_ATTEMPTS)
        await park(kept, *range(2, BATCH_MAX + 2))
        found = (await kept.parked.of(DAY, [1]))[0]
        assert (len(found.reason), found.reason[:3]) == (200, "r\N{REPLACEMENT CHARACTER}r")
        assert (len(found.message), found.message[:3]) == (500, "\N{REPLACEMENT CHARACTER}é\U0001f30a")
        assert len(await kept.parked.of(DAY, None)) == BATCH_MAX + 1
    wrongs: list[dict[str, Any]] = [
        {"index": 0},
        {"index": 2**62 + 1},
        {"index": 1, "ledger_sequence": 2**63},
        {"index": 1, "partition": ""},
        {"index": 1, "signal_id": "a\0"},
        {"index": 1, "code": 2**31},
        {"index": 1, "at": NOON.replace(tzinfo=None)},
    ]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"."):
            attempt(**wrong)


async def orders_outlive_a_restart(opened: Opener) -> None:
    """
    A pause with its reason and a rate are there after a restart, until they are changed.
    """
    async with opened() as kept:
        assert not await kept.control.resume()
        assert not await kept.control.pause("RiskCast is being upgraded\0")
        await kept.control.set_rate(0.5)
    async with opened() as kept:
        assert await kept.control.paused() == "RiskCast is being upgraded\N{REPLACEMENT CHARACTER}"
        assert await kept.control.rate() == 0.5
        assert await kept.control.pause("")
        assert await kept.control.paused() == ""
        assert await kept.control.resume()
        await kept.control.set_rate(2000)
        for wrong in (0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="rate"):
                await kept.control.set_rate(wrong)
    async with opened() as kept:
        assert await kept.control.paused() is None
        assert await kept.control.rate() == 2000


async def one_holds_the_lease(opened: Opener) -> None:
    """
    One owner at a time has the lease: until it runs out, unless it is renewed or given back, also over a restart.
    """
    second = timedelta(seconds=1)
    async with opened() as kept:
        assert await kept.control.hold("a", 10, NOON) == Lease("a", NOON + 10 * second)
        assert await kept.control.hold("b", 10, NOON + 9.999999 * second) is None
        assert await kept.control.hold("a", 10, NOON + 9 * second) == Lease("a", NOON + 19 * second)
        assert await kept.control.hold("b", 10, NOON + 11 * second) is None
    async with opened() as kept:
        await kept.control.release("b")
        assert await kept.control.hold("b", 10, NOON + 18 * second) is None
        assert await kept.control.hold("b", 0.25, NOON + 19 * second) == Lease("b", NOON + 19.25 * second)
        await kept.control.release("a")
        assert await kept.control.hold("a", 10, NOON + 19 * second) is None
        await kept.control.release("b")
        assert await kept.control.hold("a", 3600, NOON) is not None
        for owner, ttl_s in (("", 1), ("a", 0), ("a", 3601), ("a", float("nan")), ("a\0", 1)):
            with pytest.raises(ValueError, match=r"."):
                await kept.control.hold(owner, ttl_s, NOON)


async def one_wins_the_lease(opened: Opener) -> None:
    """
    Of many that ask at once one gets the lease.
    """
    async with opened() as kept:
        for minute in range(5):
            now = NOON + timedelta(minutes=minute)
            held = await asyncio.gather(*(kept.control.hold(f"owner-{nth}", 60, now) for nth in range(8)))
            assert sum(each is not None for each in held) == 1


PARKED_EXERCISES: Final[Sequence[Exercise]] = (
    parks_at_the_third_refusal,
    counts_each_of_a_batch,
    lists_oldest_first,
    forgets_what_was_delivered,
    waives_with_a_reason,
    begins_anew_with_another_signal,
    keeps_so_many,
    forgets_what_was_not_tried_again,
    bounds_batches_and_texts,
    orders_outlive_a_restart,
    one_holds_the_lease,
    one_wins_the_lease,
)
