"""
OMEN killed in the middle of a load, again and again, with subscribers and RiskCast looking on.
"""

import asyncio
import random
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen_client import CallError, OmenClient, RiskCastClient, Streamed
from tests.e2e.pair import all_of, ledger_of, omen, raw, ready, riskcast

SEED = 20_260_128
KILLS = [3, pytest.param(20, marks=pytest.mark.prove)]
LOADERS = 6
LOOKUP_MAX = 500


class Load:
    """
    Callers that bring signals without end. What failed is brought again until it is acknowledged.
    """

    def __init__(self, client: OmenClient, chance: random.Random) -> None:
        self.acknowledged: dict[str, pb.EmitResult] = {}
        self.failed = 0
        self._client = client
        self._chance = chance
        self._more = asyncio.Event()
        self._stopping = False
        self._tasks = [asyncio.create_task(self._bring(number)) for number in range(LOADERS)]

    async def more(self, count: int) -> None:
        """
        Wait until so many more are acknowledged.
        """
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:
                self._more.clear()
                await self._more.wait()

    async def stop(self) -> None:
        """
        Stop, when what has been begun is acknowledged.
        """
        self._stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def _bring(self, number: int) -> None:
        step = number * 1_000_000
        while not self._stopping:
            size = self._chance.randint(1, 20)
            numbers = range(step, step + size)
            step += size
            while not await self._brought(numbers, raw_ones=number % 2 == 0):
                self.failed += 1

    async def _brought(self, numbers: range, *, raw_ones: bool) -> bool:
        """
        Bring these; False when any of them has to be brought again.
        """
        try:
            if raw_ones:
                results = await self._client.submit_all([raw(number) for number in numbers])
            else:
                results = await self._client.emit_all([ready(number) for number in numbers])
        except CallError:
            return False
        whole = True
        for result in results:
            if isinstance(result, pb.EmitResult):
                # What was answered first stays true.
                self.acknowledged.setdefault(result.event.signal_id, result)
            else:
                whole = False
        self._more.set()
        return whole


class Watcher:
    """
    A subscriber who is left alone with the kills: its client resumes by itself.
    """

    def __init__(self, client: OmenClient) -> None:
        self.seen: dict[int, SignalEvent] = {}
        self.stream = client.stream(from_beginning=True, heartbeat_s=1)
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._watch())

    async def through(self, offset: int) -> None:
        """
        Wait until it has been sent the signal at *offset*, and end.
        """
        async with asyncio.timeout(30):
            while offset not in self.seen and not self._task.done():
                self._more.clear()
                await self._more.wait()
        assert offset in self.seen, self._task
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        at = 0
        try:
            async for item in self.stream:
                assert isinstance(item, Streamed), item
                offset = item.event.ledger_offset
                assert offset <= at + 1, "something was skipped"
                assert self.seen.setdefault(offset, item.event) == item.event, "what was streamed has changed"
                at = offset
                self._more.set()
        finally:
            self._more.set()


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.timeout(900)
async def test_kills_under_load_lose_nothing_and_repeat_nothing(tmp_path: Path, kills: int) -> None:
    """
    OMEN is killed under load: afterwards the ledger has every acknowledged signal once, the index is the ledger,
    RiskCast has whatever was answered DELIVERED under that ack, and subscribers who were left to resume by themselves
    have been sent every record, and none that the ledger has not.
    """
    chance = random.Random(SEED)
    address = f"unix:{tmp_path}/omen.sock"
    async with riskcast(tmp_path) as (_, far), OmenClient(address) as caller, OmenClient(address) as watching:
        load, watchers = Load(caller, chance), [Watcher(watching) for _ in range(3)]
        for _ in range(kills):
            async with omen(tmp_path) as (server, _):
                await load.more(chance.randint(100, 500))
                server.process.kill()
                assert await server.wait() == -signal.SIGKILL
        async with omen(tmp_path) as (server, near):
            await load.more(100)
            await load.stop()
            records = await ledger_of(near)
            for watcher in watchers:
                await watcher.through(records[-1].ledger_offset)
                assert list(watcher.seen.values()) == records
                assert watcher.stream.connections > kills
            await check_ledger(near, records, load.acknowledged)
            await check_riskcast(far, load.acknowledged)
            assert load.failed, "no call was ever hit"
            assert await server.stop() == 0


async def check_ledger(near: OmenClient, records: list[SignalEvent], acknowledged: Mapping[str, pb.EmitResult]) -> None:
    """
    Hold that the ledger has what was acknowledged, as it was told, each once; and that the index says the same.
    """
    assert [event.ledger_offset for event in records] == list(range(1, len(records) + 1))
    by_id = {event.signal_id: event for event in records}
    assert len(by_id) == len(records), "a signal lies in the ledger twice"
    for signal_id, result in acknowledged.items():
        assert by_id[signal_id] == result.event
    assert await all_of(near.signals(pb.ListSignalsRequest(page_size=500))) == records[::-1]


async def check_riskcast(far: RiskCastClient, acknowledged: Mapping[str, pb.EmitResult]) -> None:
    """
    Hold that RiskCast has what was answered with an ack, under that ack.
    """
    acks = {name: result.ack_id for name, result in acknowledged.items() if result.ack_id}
    assert len(acks) > len(acknowledged) // 2
    names = sorted(acks)
    for at in range(0, len(names), LOOKUP_MAX):
        found = await far.lookup(names[at : at + LOOKUP_MAX])
        assert not found.unknown
        assert all(receipt.ack_id == acks[receipt.signal_id] for receipt in found.receipts)
