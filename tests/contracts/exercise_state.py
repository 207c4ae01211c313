"""
What every state must do, whatever keeps it: `test_state.py` runs it over the engines and the fake.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from reconcile.v1.reconcile_service_pb2 import (
    RECONCILE_STATUS_COMPLETED,
    RECONCILE_STATUS_FAILED,
    RECONCILE_STATUS_PARTIAL,
    RECONCILE_STATUS_SKIPPED,
    RECONCILE_STATUS_UNSPECIFIED,
    Finding,
    Integrity,
    ReconcileResult,
    ReconcileState,
)
from reconciler.state import PAGE_MAX, State, StateLimits

Opener = Callable[..., AbstractAsyncContextManager[State]]
Exercise = Callable[[Opener], Awaitable[None]]

DAY: Final = "2026-01-28"
NOON: Final = datetime(2026, 1, 28, 12, tzinfo=UTC)


def result(partition: str = DAY, run: int = 0, **fields: Any) -> ReconcileResult:
    """
    Return the result of a run; *run* numbers it, and 0 leaves it without an id.
    """
    plain: dict[str, Any] = {"status": RECONCILE_STATUS_COMPLETED, "run_id": f"run-{run}" if run else ""}
    return ReconcileResult(partition_date=partition, **(plain | fields))


def state(partition: str = DAY, **fields: Any) -> ReconcileState:
    """
    Return how a partition stands.
    """
    return ReconcileState(partition_date=partition, **({"status": RECONCILE_STATUS_COMPLETED} | fields))


async def past(opened: State, partition: str = "", page: int = 3) -> list[ReconcileResult]:
    """
    Turn all pages of the history.
    """
    found: list[ReconcileResult] = []
    before = 0
    while items := await opened.runs.history(partition, before, page):
        assert len(items) <= page
        numbers = [number for number, _ in items]
        assert numbers == sorted(numbers, reverse=True)
        found += [each for _, each in items]
        before = numbers[-1]
    return found


async def begins_with_nothing(opened: Opener) -> None:
    """
    A new state knows no partition, no run and no parked signal, is not paused, and has no rate.
    """
    async with opened() as new:
        assert await new.runs.get(DAY) is None
        assert await new.runs.states("", 10) == []
        assert await new.runs.history("", 0, 10) == []
        assert await new.parked.page("", True, 0, 10) == []
        assert await new.parked.of(DAY, None) == []
        assert await new.parked.count() == 0
        assert await new.control.paused() is None
        assert await new.control.rate() is None
        assert await new.success.last() is None
        assert new.engine


async def keeps_runs(opened: Opener) -> None:
    """
    A partition's last state and every run are there after a restart, as they were saved, FAILED ones with their error.
    """
    finding = Finding(partition=DAY, ledger_index=2**63, stored_signal_id="OMEN-1")
    first = result(
        run=1, missing_count=2, replayed_ids=["a", "b"], integrity=Integrity(findings=[finding], finding_count=1)
    )
    first.started_at.FromDatetime(NOON)
    failed = result(run=2, status=RECONCILE_STATUS_FAILED, error="no such partition\0")
    stands = state(status=RECONCILE_STATUS_FAILED, manifest_revision=7, error_message="no such partition\0")
    async with opened() as kept:
        await kept.runs.save(first, state(processed_count=10, missing_count=0))
        assert await kept.runs.get(DAY) == state(processed_count=10, missing_count=0)
        await kept.runs.save(failed, stands)
    async with opened() as kept:
        assert await kept.runs.get(DAY) == stands
        assert await past(kept) == [failed, first]
        assert await past(kept, DAY) == [failed, first]
        assert await past(kept, f"{DAY}-late") == []
        assert await kept.runs.get(f"{DAY}-late") is None
        assert await kept.runs.get("2026\0") is None


async def keeps_what_was_given(opened: Opener) -> None:
    """
    What is done to messages after a save was begun changes nothing of what it keeps.
    """
    one, stands = result(run=1), state()
    async with opened() as kept:
        saving = asyncio.create_task(kept.runs.save(one, stands))
        await asyncio.sleep(0)  # It begins.
        one.missing_count = stands.missing_count = 9
        await saving
        assert await kept.runs.get(DAY) == state()
        assert await past(kept) == [result(run=1)]


async def keeps_runs_without_states(opened: Opener) -> None:
    """
    A run that only looked is in the history and leaves the partition as it stood.
    """
    async with opened() as kept:
        await kept.runs.save(result(run=1), state(processed_count=8))
        await kept.runs.save(result(run=2, validate_only=True), None)
        assert await kept.runs.get(DAY) == state(processed_count=8)
        assert [each.run_id for each in await past(kept)] == ["run-2", "run-1"]


async def refuses_what_is_no_run(opened: Opener) -> None:
    """
    Nothing SKIPPED, nameless, or with the state of another partition is kept, neither the run nor the state.
    """
    refused = [
        (result(status=RECONCILE_STATUS_SKIPPED), None),
        (result(), state(status=RECONCILE_STATUS_SKIPPED)),
        (result(status=RECONCILE_STATUS_UNSPECIFIED), state()),
        (result(), state(f"{DAY}-late")),
        (result(""), state("")),
        (result("2026\0"), None),
        (result("x" * 201), None),
        (result(run_id="a\0b"), None),
    ]
    async with opened() as kept:
        for run, stands in refused:
            with pytest.raises(ValueError, match=r"."):
                await kept.runs.save(run, stands)
        assert await past(kept) == []
        assert await kept.runs.states("", 10) == []


async def saves_a_run_once(opened: Opener) -> None:
    """
    A save that is repeated appends nothing and its state counts; another partition of the run, and runs without an id,
    are others.
    """
    async with opened() as kept:
        for count in (3, 4):
            await kept.runs.save(result(run=1), state(processed_count=count))
            assert await kept.runs.get(DAY) == state(processed_count=count)
            await kept.runs.save(result(f"{DAY}-late", run=1), None)
            await kept.runs.save(result("2026-01-01"), None)
        names = [each.partition_date for each in await past(kept)]
        assert names == ["2026-01-01", "2026-01-01", f"{DAY}-late", DAY]


async def lists_states_newest_first(opened: Opener) -> None:
    """
    Partitions come last name first, a late one beside its day, on pages that go on by name.
    """
    days = ["2026-01-27", "2026-01-28", "2025-12-31", "2026-01-29"]
    names = [name for day in days for name in (day, f"{day}-late")]
    expected = [name for day in sorted(days, reverse=True) for name in (f"{day}-late", day)]
    async with opened() as kept:
        for run, name in enumerate(names, 1):
            await kept.runs.save(result(name, run), state(name, processed_count=run))
        for size in (1, 3, 8, PAGE_MAX):
            found: list[str] = []
            while page := await kept.runs.states(found[-1] if found else "", size):
                assert len(page) <= size
                found += [each.partition_date for each in page]
            assert found == expected
        assert [each.partition_date for each in await kept.runs.states("2026-01-28", 2)] == expected[4:6]
        for size in (0, -1, PAGE_MAX + 1):
            with pytest.raises(ValueError, match="page"):
                await kept.runs.states("", size)
            with pytest.raises(ValueError, match="page"):
                await kept.runs.history("", 0, size)


async def bounds_the_history(opened: Opener) -> None:
    """
    Of each partition so many runs are kept, the newest, whatever others do; numbers are not given again.
    """
    async with opened(limits=StateLimits(history_max=5)) as kept:
        await kept.runs.save(result("2026-01-01", 1), None)
        for run in range(1, 13):
            await kept.runs.save(result(run=run, status=RECONCILE_STATUS_PARTIAL), state())
        assert [each.run_id for each in await past(kept, DAY)] == [f"run-{run}" for run in range(12, 7, -1)]
        assert len(await past(kept)) == 6
        ((last, _),) = await kept.runs.history("", 0, 1)
    async with opened(limits=StateLimits(history_max=1)) as kept:
        await kept.runs.save(result(run=13), None)
        ((number, run_13),) = await kept.runs.history(DAY, 0, 10)
        assert number > last
        assert run_13.run_id == "run-13"
        assert await kept.runs.history("", 2**63, 10) == await kept.runs.history("", 0, 10)


async def remembers_the_last_success(opened: Opener) -> None:
    """
    The last success is there after a restart, also if an earlier one is noted after it; so is the first time asked.
    """
    hour = timedelta(hours=1)
    async with opened() as kept:
        assert await kept.success.awaited_since(NOON) == NOON
        await kept.success.note(NOON + 2 * hour)
        await kept.success.note(NOON + hour)
    async with opened() as kept:
        assert await kept.success.awaited_since(NOON + 9 * hour) == NOON
        assert await kept.success.last() == NOON + 2 * hour
        await kept.success.note(NOON + 3 * hour)
        assert await kept.success.last() == NOON + 3 * hour


RUNS_EXERCISES: Final[Sequence[Exercise]] = (
    begins_with_nothing,
    keeps_runs,
    keeps_what_was_given,
    keeps_runs_without_states,
    refuses_what_is_no_run,
    saves_a_run_once,
    lists_states_newest_first,
    bounds_the_history,
    remembers_the_last_success,
)
