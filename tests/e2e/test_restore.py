"""
Cursors over restarts and over a restore from a backup.
"""

import asyncio
import shutil
from pathlib import Path

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen_client import OmenClient, OutOfRange, Streamed
from tests.e2e.command import command
from tests.e2e.pair import all_of, emitted, ledger_of, omen, raw


async def streamed(client: OmenClient, through: int, **start: object) -> tuple[list[int], str]:
    """
    Return the offsets that are streamed through one of them, and the cursor behind it.
    """
    offsets: list[int] = []
    async with asyncio.timeout(20), client.stream(heartbeat_s=1, **start) as stream:  # type: ignore[arg-type]  # Whichever start it is.
        async for item in stream:
            assert isinstance(item, Streamed)
            offsets.append(item.event.ledger_offset)
            if offsets[-1] == through:
                return offsets, item.cursor
    raise AssertionError("a stream ends never")


async def test_a_cursor_outlives_restarts_and_not_a_restore(tmp_path: Path) -> None:
    """
    A restarted OMEN goes on after an old cursor. One on a ledger restored from a backup refuses it with CURSOR_INVALID
    and an earliest cursor that works; it knows what the backup had, and appends behind it.
    """
    data, restored, backup = tmp_path / "data", tmp_path / "restored", tmp_path / "backup"
    data.mkdir()
    restored.mkdir()
    async with omen(data) as (server, near):
        first = await near.submit(raw(1), delivery=pb.DELIVERY_LEDGER)
        await emitted(near, range(2, 101), delivery=pb.DELIVERY_LEDGER)
        _, old = await streamed(near, 100, from_beginning=True)
        code, _, said = await command("ledger", "backup", str(data), str(backup))
        assert code == 0, said
        records = await ledger_of(near)
        assert await server.stop() == 0
    async with omen(data) as (_, near):
        await emitted(near, range(101, 111), delivery=pb.DELIVERY_LEDGER)
        assert (await streamed(near, 110, after_cursor=old))[0] == list(range(101, 111))
    code, _, said = await command("ledger", "restore", str(backup), str(restored / "ledger"))
    assert code == 0, said
    # The index of before is no better than none, and no worse: it has ten signals that the backup has not.
    shutil.copy(data / "index.db", restored)
    async with omen(restored) as (server, near):
        assert await ledger_of(near) == records
        assert await all_of(near.signals()) == records[::-1]
        assert (await server.line("index_rebuilt"))["reason"]
        with pytest.raises(OutOfRange) as caught:
            await streamed(near, 100, after_cursor=old)
        assert caught.value.reason == "CURSOR_INVALID"
        earliest = caught.value.metadata["earliest_cursor"]
        assert (await streamed(near, 100, after_cursor=earliest))[0] == list(range(1, 101))
        again = await near.submit(raw(1), delivery=pb.DELIVERY_LEDGER)
        assert (again.cached, again.event) == (True, first.event)
        (other,) = await emitted(near, [200], delivery=pb.DELIVERY_LEDGER)
        assert other.ledger_offset == 101
        _, new = await streamed(near, 101, after_cursor=earliest)
        assert await server.stop() == 0
    async with omen(data) as (_, near):
        with pytest.raises(OutOfRange):
            await streamed(near, 110, after_cursor=new)


async def test_a_cursor_of_another_ledger_is_refused(tmp_path: Path) -> None:
    """
    A cursor of another OMEN is refused, and the earliest one of this one works.
    """
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    async with omen(one) as (_, near), omen(other) as (_, far):
        await emitted(near, [1, 2, 3], delivery=pb.DELIVERY_LEDGER)
        await emitted(far, [1, 2, 3], delivery=pb.DELIVERY_LEDGER)
        _, cursor = await streamed(near, 2, from_beginning=True)
        with pytest.raises(OutOfRange) as caught:
            await streamed(far, 3, after_cursor=cursor)
        assert caught.value.reason == "CURSOR_INVALID"
        assert (await streamed(far, 3, after_cursor=caught.value.metadata["earliest_cursor"]))[0] == [1, 2, 3]
