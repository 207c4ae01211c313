"""
The age of the last success, which an alert stands on: it is the state's, not the process's.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from omen_client import CallError
from tests.reconciler.world import World, world

HOUR = timedelta(hours=1)


async def restarted(at: World, later: timedelta) -> float:
    """
    Let time pass, start another reconciler, and return the age that it tells, in hours.
    """
    at.clock.now += later
    at.restart()
    await at.rounds.learn()
    return age()


def age() -> float:
    """
    Return what a scrape would read, in hours.
    """
    found = REGISTRY.get_sample_value("omen_reconcile_last_success_age_seconds")
    assert found is not None
    return found / 3600


async def test_a_restart_does_not_make_the_last_success_younger(tmp_path: Path) -> None:
    """
    A reconciler that starts hours after the last success tells these hours; its own success ends them.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 4), hot=[1])
        assert [each.replayed_count for each in await at.round(include_open=True)] == [2]
        assert age() == 0
        success = at.clock.now.timestamp()
        assert await restarted(at, 5 * HOUR) == 5
        assert REGISTRY.get_sample_value("omen_reconcile_last_success_timestamp") == success
        await at.round(include_open=True)
        assert age() == 0


async def test_before_the_first_success_it_is_awaited_since_the_first_start(tmp_path: Path) -> None:
    """
    One that is started again and again, and fails, does not begin anew each time.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 4), hot=[1])
        assert await restarted(at, HOUR) == 0
        at.far.ask_no_more()
        await at.round(include_open=True)
        assert await restarted(at, 2 * HOUR) == 2
        await at.round(include_open=True)
        assert await restarted(at, HOUR) == 3


async def test_one_partition_is_no_success_of_all(tmp_path: Path) -> None:
    """
    A round over one partition leaves the age as it is: it says nothing of the others.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 4), hot=[1])
        await restarted(at, HOUR)
        at.clock.now += HOUR
        await at.one(include_open=True)
        assert age() == 1
        await at.round(include_open=True)
        assert age() == 0


async def test_whoever_waits_for_the_lease_tells_of_the_one_who_works(tmp_path: Path) -> None:
    """
    A second reconciler has the age of the first one's success, not of its own start.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 4))
        waiting = at.another()
        await waiting.learn()
        at.clock.now += HOUR
        await at.state.success.note(at.clock.now)
        assert age() == 1
        assert await at.state.control.hold("the first", 60.0, at.clock.now) is not None
        at.rounds = waiting
        with pytest.raises(CallError):
            await at.round()
        assert age() == 0
