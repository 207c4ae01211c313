"""
What is found again and again: it is said once, and the history does not repeat it.
"""

from datetime import timedelta
from pathlib import Path

from structlog.testing import LogCapture

from omen_server.ledger.names import BLOCKS
from reconcile.v1 import reconcile_service_pb2 as pb
from tests.ledgers import signal_id
from tests.reconciler.test_findings import damage, forged, logged, whole
from tests.reconciler.world import DAY, TOMORROW, World, status, world

__all__ = ["logged"]  # A fixture.


def critical(logged: LogCapture) -> list[int]:
    """
    Return the positions that were logged as CRITICAL.
    """
    return [each["ledger_index"] for each in logged.entries if each["log_level"] == "critical"]


async def history(at: World) -> list[tuple[str, str]]:
    """
    Return how the kept runs ended, the first one first.
    """
    return [status(run) for _, run in reversed(await at.state.runs.history(DAY, 0, 100))]


async def test_what_is_found_again_is_said_once(tmp_path: Path, logged: LogCapture) -> None:
    """
    Rounds over an unchanged finding log it once and keep one run; what comes to it is said, and it again only to a new
    process or when it had gone. The state's time moves with every round.
    """
    async with world(tmp_path) as at:
        await whole(at)
        await at.push([forged(666, 4000)])
        for _ in range(3):
            at.clock.now += timedelta(seconds=30)
            assert status(await at.one()) == ("PARTIAL", "ahead_of_ledger")
            state = await at.state.runs.get(DAY)
            assert state is not None
            assert state.last_reconcile_at.ToDatetime(at.clock.now.tzinfo) == at.clock.now
        assert critical(logged) == [4000]
        assert await history(at) == [("COMPLETED", ""), ("PARTIAL", "ahead_of_ledger")]
        await at.push([forged(667, 4001)])
        assert status(await at.one()) == ("PARTIAL", "ahead_of_ledger")
        assert critical(logged) == [4000, 4001]
        assert len(await history(at)) == 3
        at.restart()
        await at.one()
        assert critical(logged) == [4000, 4001, 4000, 4001]
        for number in (666, 667):
            at.far.lose(signal_id(number))
        assert status(await at.one()) == ("COMPLETED", "")
        await at.push([forged(668, 4000)])
        await at.push([forged(666, 4001)])
        await at.one()
        assert critical(logged)[4:] == [4000, 4001]


async def test_a_run_that_brought_something_is_kept(tmp_path: Path) -> None:
    """
    Runs that end alike are kept when they brought something, and those that are whole; the same failure is kept once.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 31), hot=[])
        await at.seal()
        for _ in range(2):
            assert (await at.one(replays_max=10)).replayed_count == 10
        assert await history(at) == [("PARTIAL", "limit")] * 2
        for _ in range(2):
            assert status(await at.one(force=True)) == ("COMPLETED", "")
        at.far.ask_no_more()
        for _ in range(3):
            assert status(await at.one(force=True)) == ("FAILED", "store_unavailable")
        assert [each for each, _ in await history(at)][2:] == ["COMPLETED", "COMPLETED", "FAILED"]


async def test_parked_ones_taking_turns_are_no_news(tmp_path: Path) -> None:
    """
    More are parked than a round tries: each round tries others, and the history does not say so every time.
    """
    async with world(tmp_path) as at:
        await at.append(range(1, 31), hot=[])
        await at.seal()
        at.far.door.poison = {signal_id(number) for number in range(1, 26)}
        tried = set()
        for _ in range(4):
            at.clock.now += timedelta(seconds=30)
            result = await at.one()
            assert (status(result), result.remaining_count) == (("PARTIAL", "parked"), 25)
            tried.add(tuple(result.failed_ids))
        assert len(tried) > 2
        assert len(await history(at)) == 2


async def test_what_the_ledger_has_lost_since_it_was_complete_is_noticed(tmp_path: Path) -> None:
    """
    A ledger that counts again and finds a gap where both sides were the same has no day up to date, though nobody lacks
    a thing and every fingerprint fits: RiskCast still has what the ledger lost.
    """
    async with world(tmp_path) as at:
        await whole(at)
        await damage(at, 4)
    for sums in (tmp_path / "ledger").rglob(BLOCKS):
        sums.unlink()
    async with world(tmp_path) as at:
        at.clock.now = TOMORROW
        result = await at.one()
        assert (status(result), result.missing_count) == (("PARTIAL", "ledger_corrupt_1"), 0)
        (found,) = result.integrity.findings
        assert (found.kind, found.ledger_index) == (pb.FINDING_KIND_RECOVERABLE, 5)
