"""
Streams of a real OMEN: subscribers that come late, die and resume, stall, and are many.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SIGNAL_CATEGORY_SECURITY
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_client import OmenClient, Streamed
from tests.e2e.pair import emitted, omen
from tests.hostile.vitals import MIB, forget_peak, peak, resident
from tests.hosting import channel_to

# Nobody is pushed to: this is about subscribers. In a small ring, so that those who stall are sent what the ledger has.
ALONE = ("--riskcast=",)
RING = ("--subscribers-ring-bytes-max=1048576", "--subscribers-ring-signals-max=500")
SEED = 20_260_128
KILLS = 20
# What is kept in memory of the ledger's end, and what the allocator keeps of that.
GROWTH_BYTES_MAX = 96 * MIB
# Each subscriber has a frame or two on its way, of a hundred signals; what it does not take is kept for nobody.
CROWD_BYTES_MAX = 48 * MIB
SUBSCRIBER_BYTES_MAX = MIB // 2
BULKY = "x" * 2000

LONG = pytest.mark.prove
SIGNALS = [5_000, pytest.param(100_000, marks=LONG)]
STALLS_S = [3, pytest.param(60, marks=LONG)]
CROWDS = [(40, 10, 2_000), pytest.param((200, 50, 3_000), marks=LONG)]


@dataclass
class Follower:
    """
    Follows a stream, is killed at random, and goes on from the cursor that it has kept. All it keeps is that.
    """

    address: str
    kills_at: list[int]
    asked: dict[str, Any]
    cursor: str = ""
    offsets: list[int] = field(default_factory=list)
    lives: int = 0

    async def follow(self, last_offset: int) -> None:
        """
        Follow until the signal at *last_offset* has come.
        """
        while last_offset not in self.offsets[-1:]:
            self.lives += 1
            await self._live(last_offset)

    async def _live(self, last_offset: int) -> None:
        before, first = self.offsets[-1] if self.offsets else 0, True
        async with OmenClient(self.address) as client:
            start = {"after_cursor": self.cursor} if self.cursor else {"from_beginning": True}
            stream = client.stream(**start, **self.asked)
            async with aclosing(stream):
                async for item in stream:
                    assert isinstance(item, Streamed), item
                    offset = item.event.ledger_offset
                    assert item.event.signal.category == SIGNAL_CATEGORY_SECURITY
                    assert offset > before or first, "within a life, offsets only rise"
                    before, first = offset, False
                    self.offsets.append(offset)
                    self.cursor = stream.cursor
                    if offset == last_offset:
                        return
                    if self.kills_at and len(set(self.offsets)) >= self.kills_at[0]:
                        self.kills_at.pop(0)
                        return


def kills(chance: random.Random, count: int) -> list[int]:
    """
    Return after how many signals a follower dies.
    """
    return sorted(chance.sample(range(1, count), KILLS))


async def until_streaming(client: OmenClient) -> None:
    """
    Wait until somebody is subscribed.
    """
    async with asyncio.timeout(30):
        while not [each async for each in client.operations.subscribers()]:
            pass


@pytest.mark.parametrize("count", SIGNALS)
@pytest.mark.timeout(600)
async def test_followers_that_come_and_die_at_any_time_miss_nothing(tmp_path: Path, count: int) -> None:
    """
    Subscribers with a filter who come before, during and after the signals, killed and resumed twenty times each: every
    signal that matches at least once, in the ledger's order, and none that does not.
    """
    chance = random.Random(SEED)
    async with omen(tmp_path, *ALONE) as (server, near):
        wanted = {"categories": [SIGNAL_CATEGORY_SECURITY], "max_batch": 50}
        matching = count * 2 // 3 - 10
        followers = {
            name: Follower(server.address, kills(chance, matching), wanted) for name in ("before", "during", "after")
        }
        last = count - count % 3 + 1  # Of those that match.
        following = [asyncio.create_task(followers["before"].follow(last))]
        await until_streaming(near)
        await emitted(near, range(1, count // 3), delivery=pb.DELIVERY_LEDGER)
        following.append(asyncio.create_task(followers["during"].follow(last)))
        events = await emitted(near, range(count // 3, last + 1), delivery=pb.DELIVERY_LEDGER)
        assert (events[-1].ledger_offset, events[-1].signal.category) == (last, SIGNAL_CATEGORY_SECURITY)
        following.append(asyncio.create_task(followers["after"].follow(last)))
        await asyncio.gather(*following)
        matches = [number for number in range(1, last + 1) if number % 3]
        for name, follower in followers.items():
            assert sorted(set(follower.offsets)) == matches, name
            assert follower.lives == KILLS + 1, name


@pytest.mark.parametrize("stall_s", STALLS_S)
@pytest.mark.timeout(600)
async def test_a_reader_that_stalls_loses_nothing_and_costs_little(
    tmp_path: Path, stall_s: int, figure: Callable[[str], None]
) -> None:
    """
    A subscriber takes nothing for a while, longer than the server waits for it, while signals of many megabytes come:
    it resumes by itself and has every one, and the server's memory has not grown with what it did not take.
    """
    count = 6_000
    async with omen(tmp_path, *ALONE, *RING, "--write-timeout-s=1") as (server, near):
        await emitted(near, [1], BULKY, delivery=pb.DELIVERY_LEDGER)
        stream = near.stream(from_beginning=True, heartbeat_s=60)
        offsets = [(await anext(stream)).event.ledger_offset]  # type: ignore[union-attr]  # No gaps here.
        forget_peak(server)
        before = resident(server)
        stalled = asyncio.create_task(asyncio.sleep(stall_s))
        await emitted(near, range(2, count + 1), BULKY, delivery=pb.DELIVERY_LEDGER)
        await stalled
        while offsets[-1] < count:
            item = await anext(stream)
            assert isinstance(item, Streamed)
            offsets.append(item.event.ledger_offset)
        assert sorted(set(offsets)) == list(range(1, count + 1))
        assert all(after <= at + 1 for at, after in pairwise(offsets)), "something was skipped"
        assert stream.connections > 1, "it was never put off"
        grown = peak(server) - before
        figure(f"stalled for {stall_s} s: server grew {grown / MIB:.0f} MiB, {stream.connections} connections")
        assert grown < GROWTH_BYTES_MAX
        await stream.aclose()


class Reader:
    """
    A subscriber of a connection of its own, that may be told to take nothing.
    """

    def __init__(self, address: str) -> None:
        self.offsets: list[int] = []
        self.kinds: set[str] = set()
        self._address = address
        self.taking = asyncio.Event()
        self.started = asyncio.Event()

    async def read(self, last_offset: int) -> None:
        """
        Read through *last_offset*.
        """
        # A small window, so that what is not taken is not sent.
        options = (("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0))
        async with channel_to(self._address, None, *options) as channel:
            call: Any = SignalServiceStub(channel).StreamSignals(pb.StreamSignalsRequest(from_beginning=True))
            async for frame in call:
                self.kinds.add(frame.WhichOneof("frame"))
                self.offsets += [event.ledger_offset for event in frame.batch.events]
                self.started.set()
                if self.offsets[-1:] == [last_offset]:
                    return
                await self.taking.wait()


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.timeout(600)
async def test_a_crowd_of_whom_some_stall_hinders_nobody(
    tmp_path: Path, crowd: tuple[int, int, int], figure: Callable[[str], None]
) -> None:
    """
    Of many subscribers a quarter stalls: appends go on, all others have every signal in order meanwhile, memory stays
    bounded; the stalled ones have fallen behind and get everything once they take it.
    """
    many, stalled, count = crowd
    # Those who stall are to stay: that they are put off in the end is held above.
    flags = (*ALONE, *RING, "--write-timeout-s=600")
    async with omen(tmp_path, *flags) as (server, near), AsyncExitStack() as stack:
        began_s = time.monotonic()
        await emitted(near, range(1, count + 1), BULKY, delivery=pb.DELIVERY_LEDGER)
        alone_per_s = count / (time.monotonic() - began_s)
        readers = [Reader(server.address) for _ in range(many)]
        reading = [asyncio.create_task(reader.read(2 * count)) for reader in readers]
        for task in reading:
            stack.callback(task.cancel)
        for reader in readers[stalled:]:
            reader.taking.set()
        await asyncio.gather(*(reader.started.wait() for reader in readers))
        forget_peak(server)
        before, began_s = resident(server), time.monotonic()
        await emitted(near, range(count + 1, 2 * count + 1), BULKY, delivery=pb.DELIVERY_LEDGER)
        crowded_per_s = count / (time.monotonic() - began_s)
        await asyncio.gather(*reading[stalled:])
        for reader in readers[stalled:]:
            assert reader.offsets == list(range(1, 2 * count + 1))
        grown = peak(server) - before
        figure(f"appends/s alone {alone_per_s:.0f}, before {many} subscribers, {stalled} stalled: {crowded_per_s:.0f}")
        figure(f"{many} subscribers, {stalled} stalled: server grew {grown / MIB:.0f} MiB")
        assert grown < CROWD_BYTES_MAX + many * SUBSCRIBER_BYTES_MAX
        described = [each async for each in near.operations.subscribers()]
        assert sum(each.lag_records > count // 2 for each in described) == stalled
        for reader in readers[:stalled]:
            assert len(reader.offsets) < 2 * count
            reader.taking.set()
        await asyncio.gather(*reading[:stalled])
        for reader in readers[:stalled]:
            assert reader.offsets == list(range(1, 2 * count + 1))
