"""
Repairing without a server.
"""

from pathlib import Path

import pytest

from omen_server.ledger.errors import LedgerLocked
from omen_server.ledger.repair import plan, repair
from omen_server.ledger.settings import LedgerSettings
from tests.crash.records import NOTES, note
from tests.omen_server.ledger.conftest import Opener

DAY = "2026-01-28"


async def test_plan_changes_nothing_and_repair_does_it(opened: Opener, place: Path) -> None:
    """
    The plan names the torn tail and leaves it; the repair cuts it, and then there is nothing left to do.
    """
    async with opened() as ledger:
        await ledger.append([note(1), note(2)])
    assert plan(place, NOTES) == []
    segment = place / DAY / "signals-001.wal"
    segment.write_bytes(segment.read_bytes()[:-3])
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}  # noqa: ASYNC240 - nothing runs.
    todo = plan(place, NOTES)
    assert [(step.action, step.partition, step.file) for step in todo] == [("cut", DAY, "signals-001.wal")]
    assert {path: path.read_bytes() for path in before} == before
    assert repair(place, NOTES, LedgerSettings()) == todo
    assert plan(place, NOTES) == []


async def test_plan_names_damage_and_unfinished_seals(opened: Opener, place: Path) -> None:
    """
    Damage at the end and a manifest without its seal are in the plan too.
    """
    async with opened() as ledger:
        await ledger.append([note(1), note(2)])
        await ledger.seal(DAY, force=True)
    (place / DAY / "_SEALED").unlink()
    assert [step.action for step in plan(place, NOTES)] == ["finish"]
    segment = place / DAY / "signals-001.wal"
    segment.chmod(0o600)
    data = bytearray(segment.read_bytes())
    data[-9] ^= 1
    segment.write_bytes(data)
    assert [step.action for step in plan(place, NOTES)] == ["skip", "finish"]


async def test_repair_is_refused_while_a_server_runs(opened: Opener, place: Path) -> None:
    """
    A ledger that is being written is not repaired by anybody else; the plan may be looked at.
    """
    async with opened() as ledger:
        await ledger.append([note(1)])
        assert plan(place, NOTES) == []
        with pytest.raises(LedgerLocked):
            repair(place, NOTES, LedgerSettings())
