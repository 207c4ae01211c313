"""
What the ledger has lost while the hot path was behind.
"""

import asyncio
from pathlib import Path

from omen_server.emitter import UNREADABLE
from omen_server.records import entry_of
from tests.hosting import until
from tests.ledgers import DAY, event, flip, payload_byte
from tests.omen_server.far_side import FakeIngest, rigged


async def test_who_waits_for_what_cannot_be_read_is_told_so(tmp_path: Path) -> None:
    """
    A record goes bad before the hot path comes to it: whoever waits for its outcome is told, and all is settled.
    """
    async with rigged(tmp_path, FakeIngest(), calls_max=1, batch_signals_max=1) as rig:
        rig.fake.gate.clear()
        await rig.append([1])
        await until(lambda: len(rig.fake.requests) == 1)
        await rig.append([2])
        await until(lambda: len(rig.emitter._waiting.fresh) == 1)
        # Nobody offers these to the tail: they are read from the ledger, once there is room.
        await rig.ledger.append([entry_of(event(number), "json") for number in (3, 4, 5)])
        damage(tmp_path, 3)
        waiting = asyncio.create_task(rig.emitter.outcome(4))
        await asyncio.sleep(0)
        rig.fake.gate.set()
        async with asyncio.timeout(30):
            assert await waiting == UNREADABLE
        await until(lambda: rig.emitter.settled(DAY) == (5, 5))
        assert len(rig.fake.ids) == 4


def damage(place: Path, rank: int) -> None:
    """
    Turn a bit over in a record of the ledger, as bad disks do.
    """
    (segment,) = place.rglob("*.wal")
    flip(segment, payload_byte(segment, rank))
