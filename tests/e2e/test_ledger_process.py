"""
The ledger in real server processes: killed, restarted, refused, filled up, and drained.
"""

import asyncio
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2

from omen.v1.ledger_service_pb2 import SealPartitionRequest
from omen.v1.ledger_service_pb2_grpc import LedgerServiceStub
from omen_client import Exhausted, OmenClient
from omen_rpc.health import HealthListResponse
from omen_rpc.program import FAILED, USAGE
from omen_server.ledger.names import LOCK
from tests.e2e.full_disk import fill
from tests.hosting import channel_to, refusal
from tests.ledgers import DAY, Clock, entries, everything, flip, opened, payload_byte, signal_id
from tests.processes import ServerProcess, running, started

# A day in progress: no server seals it while a test looks.
NOW = datetime.now(UTC)
TODAY = NOW.date().isoformat()
NOT_SERVING, SERVING = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING


@asynccontextmanager
async def omen(data: Path, *flags: str, **environment: str) -> AsyncIterator[tuple[ServerProcess, OmenClient]]:
    """
    Run omen-server on *data* with a client of it.
    """
    async with (
        running("omen-server", f"--data-dir={data}", *flags, cwd=data, environment=environment) as server,
        OmenClient(server.address) as client,
    ):
        yield server, client


async def ended(data: Path, *flags: str) -> tuple[int, str]:
    """
    Start omen-server where it must not start, and return its exit code and what it said.
    """
    server = await started("omen-server", f"--data-dir={data}", *flags, cwd=data)
    return await server.wait(), "".join(server.raw)


async def statuses(client: OmenClient) -> dict[str, int]:
    """
    Return what health says of each name.
    """
    method: Any = client.connection.calls.unary_unary(
        "/grpc.health.v1.Health/List",
        request_serializer=Empty.SerializeToString,
        response_deserializer=HealthListResponse.FromString,
    )
    reply = await client.connection.call(method, Empty())
    return {name: each.status for name, each in reply.statuses.items()}


def metric(server: ServerProcess, name: str) -> float:
    """
    Return the value of a series.
    """
    with urllib.request.urlopen(f"http://{server.web}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + " "))


async def test_a_ledger_is_made_and_told_of(tmp_path: Path) -> None:
    """
    The first start makes the ledger with a line, the next one opens the same; the server says what it writes and where.
    """
    async with omen(tmp_path) as (server, client):
        made = await server.line("ledger_created")
        info = await client.info()
        assert (info.engine, info.ledger_id) == ("file ledger", made["ledger_id"])
        assert info.paths["ledger"] == str(tmp_path / "ledger")
        assert {each.name for each in info.settings} >= {"seal_grace_hours", "segment_bytes_max"}
        assert await server.stop() == 0
    async with omen(tmp_path) as (server, _):
        assert (await server.line("ledger_opened"))["ledger_id"] == made["ledger_id"]


async def test_records_are_served_after_a_start(tmp_path: Path) -> None:
    """
    What the engine wrote is there after a start, over the network, whole and proven.
    """
    async with opened(tmp_path / "ledger", Clock(NOW)) as ledger:
        await ledger.append(entries(range(500), NOW))
    async with omen(tmp_path) as (server, client):
        found = await everything(client.read_partition(TODAY, validate=True))
        assert [each.signal_id for each in found] == [signal_id(number) for number in range(500)]
        assert (await client.watermark(TODAY)).settled_index == 500
        assert metric(server, 'omen_ledger_offset{state="durable"}') == 500
        assert metric(server, "omen_ledger_recovered_bytes_total") > 0


async def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    """
    After SIGKILL the next start opens the same records, cuts a torn tail, keeps its bytes, and says so.
    """
    async with opened(tmp_path / "ledger", Clock(NOW)) as ledger:
        await ledger.append(entries(range(20), NOW))
    async with omen(tmp_path) as (server, client):
        before = await everything(client.read_partition(TODAY))
        server.process.kill()
        assert await server.wait() == -signal.SIGKILL
    with (tmp_path / "ledger" / TODAY / "signals-001.wal").open("ab") as file:
        file.write(b"\0\0\1\xf4torn")
    async with omen(tmp_path) as (server, client):
        assert await everything(client.read_partition(TODAY)) == before
        assert (await server.line("ledger_opened"))["quarantined_bytes"] == 8
        assert metric(server, "omen_ledger_quarantined_bytes_total") == 8
        assert len(list((tmp_path / "ledger" / "_quarantine").glob("*.bytes"))) == 1


async def test_a_day_that_is_over_is_sealed_by_the_server(tmp_path: Path) -> None:
    """
    A running server seals what is due, logs the root, and serves a proof of it; a second start changes nothing.
    """
    async with opened(tmp_path / "ledger") as ledger:
        await ledger.append(entries(range(9)))
    async with omen(tmp_path, SEAL_GRACE_PERIOD_HOURS="1") as (server, client):
        line = await server.line("partition_sealed")
        one = await client.partition(DAY)
        assert (line["partition"], line["merkle_root"]) == (DAY, one.partition.merkle_root)
        assert (await client.prove(signal_id(3))).merkle_root == line["merkle_root"]
        assert await server.stop() == 0
    async with omen(tmp_path) as (_, client):
        assert await client.partition(DAY) == one


async def test_verify_names_a_flipped_bit(tmp_path: Path) -> None:
    """
    A bit turned over on the disk of a running server is found with its exact place, counted and logged.
    """
    async with opened(tmp_path / "ledger") as ledger:
        await ledger.append(entries(range(9)))
    path = tmp_path / "ledger" / DAY / "signals-001.wal"
    async with omen(tmp_path) as (server, client):
        await server.line("partition_sealed")
        flip(path, payload_byte(path, 4))
        verdict = (await everything(client.verify(DAY)))[-1]
        fault = verdict.faults[0]
        assert (verdict.intact, fault.ledger_index, fault.file) == (False, 5, "signals-001.wal")
        line = await server.line("ledger_corrupt")
        assert (line["byte_offset"], line["partition"]) == (fault.byte_offset, DAY)
        assert metric(server, "omen_ledger_corruptions_total") > 0
        assert len(await everything(client.read_partition(DAY))) == 9


async def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """
    Two servers on one data directory: the second says who holds it and ends with a usage error, the first goes on.
    """
    async with omen(tmp_path) as (server, client):
        code, said = await ended(tmp_path)
        assert (code, str(server.pid) in said, "Traceback" in said) == (USAGE, True, False)
        assert [each async for each in client.partitions()] == []


@pytest.mark.parametrize("file", ["letter.txt", "2026-01-28"])
async def test_a_directory_that_is_no_ledger_is_refused(tmp_path: Path, file: str) -> None:
    """
    A directory that holds something else is never made a ledger: one line, exit code 2, and nothing in it is touched.
    """
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / file).write_text("dear")
    code, said = await ended(tmp_path)
    assert (code, "is not a ledger" in said, "Traceback" in said) == (USAGE, True, False)
    assert [each.name for each in (tmp_path / "ledger").iterdir() if each.name != LOCK] == [file]


async def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    """
    A data directory below a file is refused in words.
    """
    (tmp_path / "file").write_text("")
    code, said = await ended(tmp_path, f"--data-dir={tmp_path}/file")
    assert (code, "Traceback" in said) == (USAGE, False)


async def test_a_drain_lets_go_of_the_ledger(tmp_path: Path) -> None:
    """
    SIGTERM in the middle of many reads ends with 0, and the next writer gets in at once.
    """
    async with opened(tmp_path / "ledger", Clock(NOW)) as ledger:
        await ledger.append(entries(range(3000), NOW, description="x" * 300))
    async with omen(tmp_path, "--drain-timeout-s=1") as (server, client):
        reads = [client.read_partition(TODAY) for _ in range(8)]
        for read in reads:
            await anext(read)
        assert await server.stop() == 0
        await asyncio.gather(*(read.aclose() for read in reads))
    async with opened(tmp_path / "ledger", Clock(NOW)) as ledger:
        assert ledger.durable_offset == 3000


async def test_a_full_disk_makes_the_server_read_only_and_no_more(small_disk: Path) -> None:
    """
    On a full disk what writes is refused, health says so, reads go on; space freed mends it all without a restart.
    """
    async with opened(small_disk / "ledger", Clock(NOW)) as ledger:
        await ledger.append(entries(range(50), NOW))
    flags = ("--ledger-ballast-bytes=65536", "--ledger-resume-free-bytes=1000000", "--disk-check-interval-s=0.05")
    async with omen(small_disk, *flags) as (server, client):
        kept = await everything(client.read_partition(TODAY))
        filler = small_disk / "somebody else's file"
        fill(filler)
        with pytest.raises(Exhausted) as caught:
            await client.seal(TODAY, force=True)
        assert (caught.value.reason, "path" in caught.value.metadata) == ("STORAGE_EXHAUSTED", True)
        await server.line("ledger_read_only")
        said = await statuses(client)
        assert {name for name, status in said.items() if status == NOT_SERVING} == {
            "",
            "readiness",
            "omen.v1.SignalService",
        }
        assert (said["liveness"], said["omen.v1.LedgerService"]) == (SERVING, SERVING)
        assert metric(server, "omen_server_ready") == 0
        assert await everything(client.read_partition(TODAY)) == kept
        assert not (await client.partition(TODAY)).partition.is_sealed
        filler.unlink()
        await server.line("ledger_writable_again")
        assert set((await statuses(client)).values()) == {SERVING}
        assert (await client.seal(TODAY, force=True)).partition.total_records == 50
        assert (await everything(client.verify(TODAY)))[-1].intact
        assert await server.stop() == 0


FAILING = """#!{python}
import errno, sys
from pathlib import Path
from omen_server.ledger.durable import Disk
sync = Disk.sync
def fail(self, fd):
    if Path("{flag}").exists():
        raise OSError(errno.EIO, "Input/output error")
    sync(self, fd)
Disk.sync = fail
from omen_server.__main__ import main
main()
"""


async def test_a_failed_sync_ends_the_process(tmp_path: Path) -> None:
    """
    When the disk fails in a sync the caller hears that the outcome is unknown, the process ends with 70 at once, and
    the next start finds the ledger whole.
    """
    async with opened(tmp_path / "ledger", Clock(NOW)) as ledger:
        await ledger.append(entries(range(50), NOW))
    program, flag = tmp_path / "failing-omen", tmp_path / "flag"
    program.write_text(FAILING.format(python=sys.executable, flag=flag))
    program.chmod(0o755)
    async with running(str(program), f"--data-dir={tmp_path}", cwd=tmp_path) as server:
        async with channel_to(server.address) as channel:
            flag.touch()
            error = await refusal(
                LedgerServiceStub(channel).SealPartition(SealPartitionRequest(partition=TODAY, force=True))
            )
            assert error.reason == "LEDGER_OUTCOME_UNKNOWN"
        assert await server.wait() == FAILED
        assert (await server.line("ledger_poisoned"))["level"] == "critical"
    flag.unlink()
    async with omen(tmp_path) as (_, client):
        assert len(await everything(client.read_partition(TODAY, validate=True))) == 50
        assert (await everything(client.verify(TODAY)))[-1].intact
        assert (await client.seal(TODAY, force=True)).partition.is_sealed


def peak_bytes(server: ServerProcess) -> int:
    """
    Return the most memory that a process has had so far.
    """
    status = Path(f"/proc/{server.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


async def test_reading_takes_bounded_memory(tmp_path: Path) -> None:
    """
    Sixty megabytes go through a server in messages of at most a mebibyte, and it never holds more than a few of them.
    """
    async with opened(tmp_path / "ledger", Clock(NOW)) as ledger:
        for start in range(0, 240, 40):
            await ledger.append(entries(range(start, start + 40), NOW, "x" * 250_000))
    async with omen(tmp_path) as (server, client):
        await everything(client.read_partition(TODAY, through_index=8, validate=True))
        before, count = peak_bytes(server), 0
        async for _ in client.read_partition(TODAY, validate=True):
            count += 1
        assert count == 240
        assert peak_bytes(server) - before < 24 << 20
