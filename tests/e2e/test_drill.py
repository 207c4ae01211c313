"""
Drills for a bad day and for a move: everything from its backups in another place, and everything on PostgreSQL.
"""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen_client import RiskCastClient
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_RECONCILE
from tests.e2e.command import command
from tests.e2e.pair import all_of, emitted, ledger_of, omen, ready, riskcast
from tests.e2e.reconciling import ran, reconciler
from tests.processes import tree_environment


async def acks(client: RiskCastClient) -> dict[str, str]:
    """
    Return the ack of each stored signal.
    """
    return {each.signal_id: each.ack_id async for each in client.list_processed()}


async def store(place: Path, verb: str, file: Path) -> None:
    """
    Run ``riskcast-server backup`` or ``restore`` on the store of a place.
    """
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "riskcast-server",
        verb,
        file,
        f"--store=sqlite:///{place}/riskcast.db",
        env=tree_environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def ledger(verb: str, source: Path, target: Path) -> None:
    """
    Run ``omen ledger backup`` or ``restore``.
    """
    code, _, said = await command("ledger", verb, str(source), str(target))
    assert code == 0, said


@pytest.mark.timeout(120)
async def test_everything_from_its_backups(tmp_path: Path) -> None:
    """
    The store is backed up first and the ledger after it, both while they are used; then all else is gone. Restored in
    another place the ledger has what its backup had, and a round brings RiskCast all that its own had not, acks as
    they were.
    """
    lost, found = tmp_path / "lost", tmp_path / "found"
    lost.mkdir()
    found.mkdir()
    async with riskcast(lost) as (_, far), omen(lost) as (_, near):
        await emitted(near, range(1, 6))
        await store(lost, "backup", tmp_path / "riskcast.backup")
        before = await acks(far)
        await emitted(near, range(6, 11))
        await ledger("backup", lost, tmp_path / "ledger.backup")
        records = await ledger_of(near)
        await emitted(near, range(11, 14), delivery=pb.DELIVERY_LEDGER)
    shutil.rmtree(lost)
    await ledger("restore", tmp_path / "ledger.backup", found / "ledger")
    await store(found, "restore", tmp_path / "riskcast.backup")
    async with riskcast(found) as (_, far), omen(found) as (_, near):
        assert (len(before), len(records)) == (5, 10)
        assert (await acks(far), await ledger_of(near)) == (before, records)
        ended = await ran(found, "--all", "--include-open")
        assert ended.code == 0, ended.err
        assert ended.lines[-1].endswith("replayed 5 signals")
        after = await acks(far)
        assert after.keys() == {each.signal_id for each in records}
        assert before.items() <= after.items()


async def test_a_ledger_behind_riskcast_is_made_whole_from_it(tmp_path: Path) -> None:
    """
    A ledger that is restored behind RiskCast is said to be. What it lacks, emitted again as RiskCast shows it and in
    the order of the positions, takes these again, and nothing is left to say.
    """
    copy, lacking = tmp_path / "ledger.backup", [ready(number).signal.signal_id for number in range(6, 9)]
    async with riskcast(tmp_path) as (server, far):
        async with omen(tmp_path) as (_, near):
            await emitted(near, range(1, 6))
            await ledger("backup", tmp_path, copy)
            await emitted(near, range(6, 9))
        before = await acks(far)
        shutil.rmtree(tmp_path / "ledger")
        await ledger("restore", copy, tmp_path / "ledger")
        async with omen(tmp_path) as (own, near):
            behind = await ran(tmp_path, "--all", "--include-open")
            assert (behind.code, "PARTIAL ahead_of_ledger" in behind.out) == (1, True)
            assert [name for name in before if name in behind.err] == lacking
            for name in lacking:
                _, shown, _ = await command("processed", name, "-o", "jsonl", f"--riskcast={server.address}")
                code, _, said = await command("emit", f"--omen={own.address}", said=shown.encode())
                assert code == 0, said
            assert len(await ledger_of(near)) == 8
            assert (await ran(tmp_path, "--all", "--include-open")).code == 0
        assert await acks(far) == before


@pytest.mark.timeout(120)
async def test_the_move_to_postgres(tmp_path: Path, postgres_url: str) -> None:
    """
    Servers that were on SQLite start on one empty PostgreSQL: OMEN makes its index of the ledger again, and the
    reconciler brings RiskCast every signal by itself. What is kept is the ledger; acks are RiskCast's and new.
    """
    async with riskcast(tmp_path) as (_, far), omen(tmp_path) as (_, near), reconciler(tmp_path) as (own, _):
        await emitted(near, range(1, 31))
        old = await acks(far)
        listed = await all_of(near.signals())
        assert len(old) == len(listed) == 30
        assert await own.stop() == 0
    url = postgres_url
    async with riskcast(tmp_path, f"--store={url}") as (_, far), omen(tmp_path, f"--index={url}") as (_, near):
        assert await acks(far) == {}
        assert await all_of(near.signals()) == listed
        async with reconciler(tmp_path, f"--state={url}", "--interval=1") as (server, client):
            assert (await server.line("round", replayed=30))["remaining"] == 0
            assert [each.ledger_highwater async for each in client.states()] == [30]
        new = await acks(far)
        assert new.keys() == old.keys()
        assert not set(new.values()) & set(old.values())
        assert {each.origin async for each in far.list_processed()} == {INGEST_ORIGIN_RECONCILE}
        again = await near.emit(ready(1).signal)
        assert (again.status, again.cached) == (pb.EMIT_STATUS_DUPLICATE, True)
        assert again.ack_id == new[again.event.signal_id]
