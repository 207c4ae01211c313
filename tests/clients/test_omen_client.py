import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from omen.v1.position_pb2 import LedgerGap
from omen.v1.signal_pb2 import SignalEvent
from omen_client import InvalidRequest, NotFound, OmenClient, OutOfRange, PreconditionFailed
from tests.ledgers import DAY, NOON, Clock, entries, everything, flip, payload_byte, served, signal_id
from tests.processes import tree_environment


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """
    Return where the ledger lies.
    """
    return tmp_path / "ledger"


async def test_lists_hide_their_pages(place: Path) -> None:
    """
    Partitions and blocks come one after the other, however many pages they took.
    """
    async with served(place) as at:
        for back in range(5):
            await at.ledger.append(entries([back], NOON - timedelta(days=back)))
        await at.ledger.append(entries(range(3000)))
        newest = [each.partition async for each in at.client.partitions(page_size=2)]
        oldest = [each.partition async for each in at.client.partitions(oldest_first=True, page_size=2)]
        assert newest == oldest[::-1] == sorted(newest, reverse=True)
        assert len(newest) == 5
        assert [each.count async for each in at.client.blocks(DAY, page_size=1)] == [1024, 1024, 953]


async def test_reading_gives_signals_and_gaps(place: Path) -> None:
    """
    Signals and gaps come in one sequence, in order.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(4)))
        flip(place / DAY / "signals-001.wal", payload_byte(place / DAY / "signals-001.wal", 2))
        found = await everything(at.client.read_partition(DAY))
        assert [isinstance(each, LedgerGap) for each in found] == [False, False, True, False]
        assert [each.signal_id for each in found if not isinstance(each, LedgerGap)] == [
            signal_id(number) for number in (0, 1, 3)
        ]


async def test_leaving_a_read_ends_it(place: Path) -> None:
    """
    Whoever breaks out of a read holds no call open, and the server ends at once when told to.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(5000), description="x" * 200))
        events = at.client.read_partition(DAY)
        async for event in events:
            assert isinstance(event, SignalEvent)
            assert event.ledger_index == 1
            break
        await events.aclose()
        async with asyncio.timeout(30):
            at.server.stop()
            await at.server.draining.wait()


async def test_errors_have_their_classes(place: Path) -> None:
    """
    Each way to be refused is a class that a caller can catch.
    """
    async with served(place, Clock()) as at:
        await at.ledger.append(entries([1]))
        with pytest.raises(NotFound):
            await at.client.partition("2020-01-01")
        with pytest.raises(InvalidRequest):
            await at.client.watermark("../x")
        with pytest.raises(PreconditionFailed):
            await at.client.seal(DAY)
        with pytest.raises(OutOfRange):
            await at.client.fingerprint(DAY, through_index=2)
        with pytest.raises(NotFound):
            await everything(at.client.read_partition("2020-01-01"))
        with pytest.raises(NotFound):
            await everything(at.client.verify("2020-01-01"))
        with pytest.raises(PreconditionFailed):
            await at.client.confirm_reconciled(DAY, 1, "another")


async def test_a_client_closes_with_its_block(place: Path) -> None:
    """
    After its block a client holds nothing, and closing it again does nothing.
    """
    async with served(place) as at:
        async with OmenClient(str(at.server.address)) as client:
            assert [each async for each in client.partitions()] == []
        await client.close()


def test_the_client_needs_no_server() -> None:
    """
    Importing the client imports no server, no JSON codec, and no library that only servers install.
    """
    script = (
        "import sys, omen_client\n"
        "bad = {'omen_server', 'riskcast_server', 'orjson', 'pydantic', 'structlog', 'prometheus_client', 'filelock'}\n"
        "sys.exit(', '.join(bad & sys.modules.keys()) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=tree_environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
