"""
The reconciler's state as processes meet it: on PostgreSQL, shared by two; and when there is something wrong with it.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from omen.v1 import signal_service_pb2 as pb
from reconciler.state import open_state
from tests.e2e.pair import PUSHES_NOTHING, emitted, omen, riskcast
from tests.e2e.reconciling import begun, ran
from tests.processes import started


async def made(place: Path) -> str:
    """
    Make an empty state, and return its URL.
    """
    url = f"sqlite:///{place}/reconcile.db"
    async with open_state(url):
        return url


async def test_a_state_that_is_in_use_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """
    A round by hand beside a reconciler that serves: one line names the holder and the command that does it, exit 2.
    """
    async with open_state(f"sqlite:///{tmp_path}/reconcile.db"):
        ended = await ran(tmp_path, "--all")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert "is open in another reconciler (pid " in line
    assert "`omen reconcile run`" in line


async def test_a_state_that_breaks_is_one_line(tmp_path: Path) -> None:
    """
    A state that fails in the middle of a round ends it with 70, one whose database does not answer with 4, and with 70
    whoever wants to serve on that; each with one line, and no traceback.
    """
    await made(tmp_path)
    with closing(sqlite3.connect(tmp_path / "reconcile.db")) as connection:
        connection.execute("ALTER TABLE reconcile_control RENAME COLUMN lease_owner TO nobody")
    nowhere = "--state=postgresql://nobody@127.0.0.1:1/x"
    ended = await asyncio.gather(ran(tmp_path, "--all"), ran(tmp_path, "--all", nowhere))
    assert [each.code for each in ended] == [70, 4]
    for each in ended:
        (line,) = each.err.splitlines()
        assert line.startswith("omen-reconciler: --state: ")
    server = await started("omen-reconciler", nowhere, cwd=tmp_path)
    assert await server.wait() == 70
    assert server.raw[-1].startswith("omen-reconciler: --state: ")
    assert "raised_at" not in "".join(server.raw)


@pytest.mark.timeout(120)
async def test_two_reconcilers_share_a_state_in_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """
    With RiskCast's store and the state in PostgreSQL a round brings what is missing; a second reconciler on the same
    state waits until the first has ended, and then has nothing to do.
    """
    state, limits = f"--state={postgres_url}", ("--all", "--include-open", "--lease-s=5")
    async with (
        riskcast(tmp_path, f"--store={postgres_url}") as (server, far),
        omen(tmp_path, PUSHES_NOTHING) as (_, near),
    ):
        assert (await server.line("serving"))["engine"].startswith("PostgreSQL")
        lost = await emitted(near, range(1, 401), delivery=pb.DELIVERY_LEDGER)
        first = await begun(tmp_path, state, *limits, "--replay-rate=150")
        async with asyncio.timeout(30):
            while not (await far.stats()).stored:  # noqa: ASYNC110 - RiskCast tells nobody
                await asyncio.sleep(0.05)
        second = await ran(tmp_path, state, *limits)
        out, err = await first.communicate()
        assert (first.returncode, second.code) == (0, 0), (err, second.err)
        assert "replayed 400 signals" in out.decode()
        assert "SKIPPED up_to_date" in second.lines
        assert {each.signal_id async for each in far.list_processed(page_size=500)} == {each.signal_id for each in lost}
    async with open_state(postgres_url) as kept:
        (only,) = await kept.runs.history("", 0, 10)
        assert only[1].replayed_count == 400
