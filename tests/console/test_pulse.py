"""
The pulse: one reading for all who look, never older than it may be, and dear to no server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from omen_console.asking import Asking
from omen_console.glance import hero, judged, way_state
from omen_console.pulse import Day, Pulse
from omen_console.upstream import Answer, Trouble
from tests.console.far import DAY, Far, upstream_of


@asynccontextmanager
async def pulse_of(far: Far) -> AsyncIterator[Pulse]:
    """
    Make a pulse of *far*, on its clock.
    """
    async with upstream_of(far) as upstream:
        asking = Asking(upstream)
        pulse = Pulse(upstream, asking, lambda: far.now_s)
        yield pulse
        await pulse.close()
        await asking.close()


async def test_many_pages_share_a_reading() -> None:
    """
    A hundred pages that look at once ask the servers once; half a second later once again.
    """
    far = Far()
    async with pulse_of(far) as pulse:
        found = await asyncio.gather(*(pulse.read() for _ in range(100)))
        assert len({id(each) for each in found}) == 1
        assert far.calls.count("stats") == 1
        far.now_s += 0.5
        assert await pulse.read() is not found[0]
        assert far.calls.count("stats") == 2


async def test_after_something_was_done_it_is_read_anew() -> None:
    """
    Whoever just changed something sees it, however fresh the last reading is.
    """
    far = Far()
    async with pulse_of(far) as pulse:
        first = await pulse.read()
        far.now_s += 0.01
        assert await pulse.read() is first
        assert await pulse.read(anew=True) is not first
        assert far.calls.count("coverage") == 2


async def test_a_hung_server_costs_its_deadline_once() -> None:
    """
    Pages that waited while a reading took long are given that one, and do not wait in a row.
    """
    far = Far()
    go_on = far.hold("stats")
    async with pulse_of(far) as pulse:
        waiting = [asyncio.create_task(pulse.read()) for _ in range(20)]
        async with asyncio.timeout(30):
            while not far.calls:  # noqa: ASYNC110 - the far side is asked some turns of the loop later
                await asyncio.sleep(0)
        far.now_s += 3.0
        go_on.set()
        assert len({id(each) for each in await asyncio.gather(*waiting)}) == 1
        assert far.calls.count("stats") == 1


async def test_no_page_waits_for_a_long_comparison() -> None:
    """
    While RiskCast counts, pages say so or show the day as it was; who changed something waits for the new count.
    """
    far = Far()
    counted = far.hold("coverage")
    async with asyncio.timeout(30), pulse_of(far) as pulse:
        day = (await pulse.read()).day.value
        assert day is not None
        assert (day.ledger, day.stored.value, judged(day, day.stored.trouble)) == (
            10, None, ("plain", "RiskCast is counting what it holds."),
        )  # fmt: skip
        far.now_s += 0.5
        assert (await pulse.read()).day.value == day
        counted.set()
        far.now_s += 0.5
        day = (await pulse.read()).day.value
        assert day is not None
        assert (day.stored.value, far.calls.count("coverage")) == (7, 1)
        counted = far.hold("coverage")
        far.now_s += 6.0
        assert (await pulse.read()).day.value == day
        far.now_s += 0.1
        waiting = asyncio.create_task(pulse.read(anew=True))
        counted.set()
        await waiting
        assert far.calls.count("coverage") == 3


async def test_a_dear_comparison_is_kept_a_while() -> None:
    """
    A comparison that took a fifth of a second is not made again for two seconds; both of its counts are of one moment.
    """
    far = Far()
    far.comparing_s = 0.2
    async with pulse_of(far) as pulse:
        day = (await pulse.read()).day.value
        assert day is not None
        assert (day.ledger, day.stored.value, day.missing) == (10, 7, 3)
        for _ in range(3):
            far.now_s += 0.5
            assert (await pulse.read()).day.value is day
        assert far.calls.count("stats") == 4
        far.now_s += 1.0
        assert (await pulse.read()).day.value is not day
        assert far.calls.count("coverage") == 2
        pulse.expire()
        await pulse.read()
        assert far.calls.count("coverage") == 3


async def test_the_rate_is_of_the_last_seconds() -> None:
    """
    The rate comes from two looks at the counter, and begins anew when OMEN does.
    """
    far = Far()
    async with pulse_of(far) as pulse:
        assert (await pulse.read()).per_second is None
        far.now_s, far.appended = far.now_s + 2.0, 400
        assert (await pulse.read()).per_second == 200.0
        far.now_s, far.appended = far.now_s + 60.0, 400
        assert (await pulse.read()).per_second is None
        far.now_s, far.appended = far.now_s + 1.0, 5
        assert (await pulse.read()).per_second is None


async def test_what_riskcast_does_not_answer_is_not_called_equal() -> None:
    """
    Both counts were equal a moment ago; now that RiskCast does not answer nobody says that nothing is missing.
    """
    trouble = Trouble("riskcast", "slow", "DEADLINE_EXCEEDED", "", "")
    stored = Answer(7, datetime(2026, 1, 28, tzinfo=UTC))
    day = Day("2026-01-28", is_today=True, has_late=False, ledger=7, is_sealed=False, stored=stored)
    assert judged(day, None) == ("good", "Equal: nothing is missing.")
    assert judged(day, trouble) == ("warn", "Ledger-only while RiskCast is slow. Reconcile will recover.")
    less = replace(day, stored=replace(day.stored, value=5))
    assert judged(less, None) == ("warn", "2 not at RiskCast. Reconcile will recover.")
    assert judged(less, trouble) == ("warn", "Ledger-only: 2 wait while RiskCast is slow. Reconcile will recover.")


@pytest.mark.parametrize(
    ("partitions", "ledger", "missing", "calls", "words"),
    [
        ({DAY: 10}, 10, 3, 1, DAY),
        ({DAY: 10, f"{DAY}-late": 5, "2026-01-27": 90}, 15, 6, 2, f"{DAY}, with its late arrivals"),
        ({"2026-01-27": 90, "2026-01-27-late": 4}, 94, 6, 2, "2026-01-27, with its late arrivals"),
        ({}, None, None, 0, ""),
    ],
)
async def test_a_days_late_arrivals_are_of_the_day(
    partitions: dict[str, int], ledger: int | None, missing: int | None, calls: int, words: str
) -> None:
    """
    Both counts of a day have its late arrivals in them, for one more comparison and none of other days.
    """
    far = Far()
    far.partitions = partitions
    async with pulse_of(far) as pulse:
        reading = await pulse.read()
        day = reading.day.value
        assert (day and day.ledger, day and day.missing) == (ledger, missing)
        assert (far.calls.count("coverage"), far.calls.count("watermark")) == (calls, calls)
        assert hero(reading)["day"] == words


async def test_a_comparison_of_before_is_told_as_such() -> None:
    """
    When OMEN is gone the headline says what was missing when it last answered, and nothing of RiskCast's state now.
    """
    far = Far()
    async with pulse_of(far) as pulse:
        reading = await pulse.read()
        gone = Trouble("omen", "down", "UNAVAILABLE", "", "")
        stale = replace(reading, day=replace(reading.day, trouble=gone))
        assert hero(stale)["verdict"] == "3 were not at RiskCast when OMEN last answered."
        assert reading.day.value is not None
        whole = replace(reading.day.value, stored=Answer(10, reading.at))
        assert hero(replace(stale, day=replace(stale.day, value=whole)))["verdict"] == (
            "Nothing was missing when OMEN last answered."
        )


async def test_a_server_that_hangs_is_not_called_counting() -> None:
    """
    That RiskCast does not answer at all is told rather than that it counts.
    """
    far = Far()
    far.hold("coverage")
    async with pulse_of(far) as pulse:
        reading = await pulse.read()
        assert hero(reading)["verdict"] == "RiskCast is counting what it holds."
        slow = Trouble("riskcast", "slow", "DEADLINE_EXCEEDED", "", "")
        hung = replace(reading, store=Answer(None, reading.at, slow))
        assert hero(hung)["verdict"] == "Ledger-only while RiskCast is slow. Reconcile will recover."


async def test_who_takes_his_time_is_shown_as_he_was() -> None:
    """
    No reading waits for a server: at first it says that it asks, later it has what was told last; an answer that came
    meanwhile is in the next one, and nobody is asked twice for it.
    """
    far = Far()
    go_on = far.hold("stats", "store", "partitions")
    async with asyncio.timeout(30), pulse_of(far) as pulse:
        reading = await pulse.read()
        assert [reading.state(each) for each in ("omen", "riskcast", "reconciler")] == ["asking", "asking", "up"]
        assert (way_state(reading, "CLOSED"), hero(reading)["verdict"]) == ("asking", "OMEN is being asked.")
        assert reading.is_asking
        go_on.set()
        far.now_s += 0.5
        reading = await pulse.read()
        assert (reading.state("omen"), reading.is_asking, far.calls.count("stats")) == ("up", False, 1)
        far.hold("stats")
        far.now_s += 0.5
        assert (await pulse.read()).stats is reading.stats
