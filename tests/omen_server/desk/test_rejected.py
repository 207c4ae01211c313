from pathlib import Path

from omen_server.desk.desk import Desk
from omen_server.pipeline.run import run
from tests.omen_server.desk.desks import desk_in
from tests.omen_server.desk.outcomes import refusal
from tests.omen_server.pipeline.raw_events import NOTHING_KNOWN, NOW, RULES, market


def keep(desk: Desk, *names: str) -> None:
    """
    Keep football matches by their ids at the source.
    """
    for name in names:
        desk.rejected.keep(market("Euro 2028 winner", source_event_id=name), refusal(), NOW)


async def names(desk: Desk, rule: str = "", before: int = 0, count: int = 100) -> list[str]:
    """
    Return the ids of a page.
    """
    return [record.event.source_event_id for _, record in await desk.rejected.page(before, rule, count)]


async def test_what_was_refused_is_seen_at_once(tmp_path: Path) -> None:
    """
    A refused event is listed with its verdicts as soon as it was kept, and after a restart.
    """
    outcome = refusal()
    async with desk_in(tmp_path) as desk:
        keep(desk, "a")
        [now] = await desk.rejected.page(0, "", 10)
    async with desk_in(tmp_path) as desk:
        [later] = await desk.rejected.page(0, "", 10)
    assert now == later
    record = now[1]
    assert (record.rule, list(record.verdicts)) == ("semantic", list(outcome.verdicts))
    assert (record.event.title, record.at.ToDatetime(NOW.tzinfo)) == ("Euro 2028 winner", NOW)


async def test_pages_by_rule(tmp_path: Path) -> None:
    """
    Pages come newest first, of one rule where one is named.
    """
    closed = market(figures={"closed": True}, source_event_id="closed")
    async with desk_in(tmp_path) as desk:
        keep(desk, "a", "b")
        desk.rejected.keep(closed, run(closed, RULES, NOTHING_KNOWN), NOW)
        keep(desk, "c")
        assert await names(desk) == ["c", "closed", "b", "a"]
        assert await names(desk, "market_state") == ["closed"]
        page = await desk.rejected.page(0, "semantic", 2)
        assert await names(desk, "semantic", page[-1][0]) == ["a"]
        assert await names(desk, "nonsense") == []


async def test_newest_are_kept(tmp_path: Path) -> None:
    """
    Of more than there is room for the newest stay, also over restarts; numbers go on.
    """
    async with desk_in(tmp_path, rejected_max=3) as desk:
        keep(desk, *"abcde")
        assert await names(desk) == ["e", "d", "c"]
        keep(desk, "f")
        assert await names(desk) == ["f", "e", "d"]
    async with desk_in(tmp_path, rejected_max=3) as desk:
        assert await names(desk) == ["f", "e", "d"]
        keep(desk, "g")
        assert await names(desk) == ["g", "f", "e"]
        assert await desk.rejected._reader.rows("SELECT number FROM rejected ORDER BY number") == [(5,), (6,), (7,)]


async def test_bytes_are_bounded(tmp_path: Path) -> None:
    """
    Large events take the room of more than one.
    """
    async with desk_in(tmp_path, rejected_bytes_max=20_000) as desk:
        for name in "abc":
            raw = market("Euro 2028 winner", source_event_id=name, description="x" * 9_000)
            desk.rejected.keep(raw, refusal(), NOW)
        assert await names(desk) == ["c", "b"]
