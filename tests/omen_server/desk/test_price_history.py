import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.desk import price_history
from omen_server.desk.desk import Desk
from omen_server.pipeline.attribute import ns_of_moment
from omen_server.pipeline.history import Point, key_of
from tests.hosting import until
from tests.omen_server.desk.desks import desk_in, locked
from tests.omen_server.pipeline.raw_events import NOW, market

KEY = key_of(market())


def priced(price: float, age_s: float = 0.0, name: str = "evt-001") -> RawSignalEvent:
    """
    Return a market at a price, observed so long ago.
    """
    return market(probability=price, age_s=age_s, source_event_id=name)


def point(price: float, age_s: float = 0.0) -> Point:
    """
    Return the point of such a market.
    """
    return Point(ns_of_moment(NOW - timedelta(seconds=age_s)), price)


async def rows(desk: Desk) -> list[str]:
    """
    Return the keys that lie in the table, once everything is written.
    """
    await desk.history._writer.flush()
    return [key for (key,) in await desk.history._reader.rows("SELECT key FROM series ORDER BY key")]


async def test_points_are_there_at_once_and_after_a_restart(tmp_path: Path) -> None:
    """
    What was extended is loaded in the order of time, before it is written and after.
    """
    expected = {KEY: (point(0.5, 60), point(0.7))}
    async with desk_in(tmp_path) as desk:
        await desk.history.extend([priced(0.7), priced(0.5, 60)], NOW)
        assert dict(await desk.history.load([KEY, "polymarket/none"], NOW)) == expected
    async with desk_in(tmp_path) as desk:
        assert dict(await desk.history.load([KEY, "polymarket/none"], NOW)) == expected
        await desk.history.extend([priced(0.6, 30)], NOW)
        assert (await desk.history.load([KEY], NOW))[KEY] == (point(0.5, 60), point(0.6, 30), point(0.7))


async def test_repeats_add_nothing(tmp_path: Path) -> None:
    """
    The same time and price again writes nothing, and an event without a price neither.
    """
    silent = market()
    silent.ClearField("probability")
    async with desk_in(tmp_path) as desk:
        await desk.history.extend([priced(0.7), priced(0.7)], NOW)
        assert await rows(desk) == [KEY]
        await desk.history.extend([priced(0.7), silent], NOW)
        assert not desk.history._unwritten
        assert (await desk.history.load([KEY], NOW))[KEY] == (point(0.7),)


async def test_old_points_are_not_told(tmp_path: Path) -> None:
    """
    What is older than seven days is not loaded, although it lies there.
    """
    async with desk_in(tmp_path) as desk:
        await desk.history.extend([priced(0.7)], NOW)
        assert dict(await desk.history.load([KEY], NOW + timedelta(hours=168))) != {}
        assert dict(await desk.history.load([KEY], NOW + timedelta(hours=168, seconds=1))) == {}


@pytest.mark.parametrize("seconds", [-62_135_596_800, 253_402_300_799])
async def test_impossible_times_add_nothing(tmp_path: Path, seconds: int) -> None:
    """
    The first and the last moment of the calendar, which no column of nanoseconds can hold, are no points.
    """
    raw = priced(0.7)
    raw.observed_at.seconds = seconds
    async with desk_in(tmp_path) as desk:
        await desk.history.extend([raw, priced(0.6, name="other")], NOW)
        assert await rows(desk) == ["polymarket/other"]


async def test_series_are_swept(tmp_path: Path) -> None:
    """
    Series that nobody told of for seven days go, and of too many those that were seen last stay.
    """
    async with desk_in(tmp_path, series_max=2) as desk:
        await desk.history.extend([priced(0.5, age, f"m{age}") for age in (10, 20, 30)], NOW)
        assert await rows(desk) == ["polymarket/m10", "polymarket/m20"]
        later = NOW + timedelta(days=8)
        raw = priced(0.5, name="new")
        raw.observed_at.FromDatetime(later)
        await desk.history.extend([raw], later)
        assert await rows(desk) == ["polymarket/new"]


async def test_series_that_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A series that has left memory and is not yet in the database is waited for.
    """
    monkeypatch.setattr(price_history, "CACHE_SERIES_MAX", 1)
    async with desk_in(tmp_path) as desk:
        await desk.history.extend([priced(0.5, name="a"), priced(0.5, name="b")], NOW)
        with locked(tmp_path):
            flushing = asyncio.create_task(desk.history._writer.flush())
            await until(lambda: not desk.history._unwritten)
            loading = asyncio.create_task(desk.history.load(["polymarket/a"], NOW))
            await asyncio.wait([loading], timeout=0.1)
        await flushing
        assert dict(await loading) == {"polymarket/a": (point(0.5),)}


async def test_memory_is_bounded_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With room for few series in memory, many callers at once still lose no point.
    """
    monkeypatch.setattr(price_history, "CACHE_SERIES_MAX", 2)
    names = [f"m{at}" for at in range(8)]
    async with desk_in(tmp_path, flush_interval_s=0.0) as desk:

        async def tell(age_s: int) -> None:
            for name in names:
                await desk.history.extend([priced(0.5, age_s, name)], NOW)
                await desk.history.load([f"polymarket/{names[age_s % 8]}"], NOW)

        await asyncio.gather(*(tell(age_s) for age_s in range(12)))
        found = await desk.history.load([f"polymarket/{name}" for name in names], NOW)
        assert {key: len(series) for key, series in found.items()} == {f"polymarket/{name}": 12 for name in names}
        assert len(desk.history._known) <= 2
