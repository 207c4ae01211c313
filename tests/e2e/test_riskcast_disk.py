import asyncio
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from omen_client import Exhausted, Ingested, RiskCastClient
from riskcast_server.backup import COMMANDS
from tests.e2e.full_disk import fill
from tests.processes import ServerProcess, running, tree_environment
from tests.riskcast_server.signals import signal


def readiness(server: ServerProcess) -> int:
    """
    Ask the server's HTTP port whether it is ready.
    """
    try:
        with urllib.request.urlopen(f"http://{server.web}/readyz", timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


async def ready(server: ServerProcess, wanted: int) -> None:
    """
    Wait until the server says so.
    """
    async with asyncio.timeout(30):
        while await asyncio.to_thread(readiness, server) != wanted:
            pass


async def test_a_full_disk_refuses_what_is_new_and_mends_by_itself(small_disk: Path, tmp_path: Path) -> None:
    """
    On a full disk nothing new is taken and readiness says so; what was acked is read, and space mends it all.
    """
    flags = (f"--store=sqlite:///{small_disk}/riskcast.db", "--disk-check-interval-s=0.05")
    async with running("riskcast-server", *flags, cwd=tmp_path) as server, RiskCastClient(server.address) as client:
        kept = await client.ingest(signal(1))
        await ready(server, 200)
        fill(small_disk / "somebody else's file")
        with pytest.raises(Exhausted) as caught:
            for number in range(2, 2000):
                await client.ingest(signal(number))
        assert caught.value.reason == "STORAGE_EXHAUSTED"
        await ready(server, 503)
        assert (await client.processed(signal(1).signal_id)).ack_id == kept.ack_id
        (small_disk / "somebody else's file").unlink()
        await ready(server, 200)
        assert isinstance(await client.ingest(signal(5000)), Ingested)
        assert (await client.processed(signal(1).signal_id)).ack_id == kept.ack_id
        assert not [line for line in server.raw if "locked" in line or "unforeseen" in line]


async def test_backup_of_a_running_store_and_restore_under_another_epoch(tmp_path: Path) -> None:
    """
    A copy taken while the server works holds what was acked before; restored, it has another epoch and knows them all.
    """
    copy, store = tmp_path / "copy.db", f"--store=sqlite:///{tmp_path}/riskcast.db"
    async with running("riskcast-server", store, cwd=tmp_path) as server, RiskCastClient(server.address) as client:
        acks = [(await client.ingest(signal(number))).ack_id for number in range(20)]
        assert await command("backup", str(copy), store) == 0
        epoch = (await client.stats()).store_epoch
        await client.ingest(signal(100))
        assert await command("restore", str(copy), store) == 1, "a store in use is not replaced"
    assert await command("restore", str(copy), store) == 0
    async with running("riskcast-server", store, cwd=tmp_path) as server, RiskCastClient(server.address) as client:
        stats = await client.stats()
        assert (stats.stored, stats.store_epoch == epoch) == (20, False)
        assert [(await client.ingest(signal(number))).ack_id for number in range(20)] == acks
    assert await command("backup", str(copy), store) == 1, "a copy is not written over"
    assert await command("backup") == 2
    secret = "--store=postgresql://omen:password@db.example/omen"
    for verb in COMMANDS:
        assert await command(verb, str(copy), secret, unsaid="password") == 2
    assert await command("backup", secret, unsaid="password") == 2


async def test_a_restored_postgres_gets_its_new_epoch(tmp_path: Path, postgres_url: str) -> None:
    """
    What pg_restore has put in place is given another epoch by `restore` without a file.
    """
    store, epochs = f"--store={postgres_url}", []
    for _ in range(2):
        async with running("riskcast-server", store, cwd=tmp_path) as server, RiskCastClient(server.address) as client:
            epochs.append((await client.stats()).store_epoch)
        assert await command("restore", store, unsaid="postgresql") == 0
    assert epochs[0] != epochs[1]


async def command(*line: str, unsaid: str = "") -> int:
    """
    Run `riskcast-server` with *line* and return its exit code; what is *unsaid* it must not say.
    """
    program = Path(sys.executable).parent / "riskcast-server"
    process = await asyncio.create_subprocess_exec(
        program, *line, env=tree_environment(), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert said.startswith(b"riskcast-server: ")
    assert not unsaid or unsaid.encode() not in said
    return process.returncode or 0
