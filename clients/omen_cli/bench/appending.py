"""
Measuring the ledger's engine: appends under several kinds of load, then reading back what they wrote.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from omen_cli.bench.figures import Figure, percentiles_ms
from omen_cli.bench.typical import typical_signal
from omen_rpc.signal_codec import PayloadKind, digest_and_prepare
from omen_server.ledger.audit import Progress
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.entry import Entry
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.settings import LedgerSettings
from omen_server.records import SIGNALS, entry_of

PRODUCERS = (1, 8, 32, 256)
BATCH = 100
GROUPED = LedgerSettings(ballast_bytes=4096, resume_free_bytes=0)
# The comparison: the same engine, not allowed to gather.
SINGLE = LedgerSettings(ballast_bytes=4096, resume_free_bytes=0, batch_records_max=1)
# Every batch fills its segment, so every append but the first begins the next one.
ROLLING = LedgerSettings(ballast_bytes=4096, resume_free_bytes=0, segment_records_max=BATCH)

Make = Callable[[], Entry]


@dataclass(frozen=True, slots=True)
class Load:
    """
    One kind of load: so many producers, each appending so many records a call, one call after the other.
    """

    case: str
    producers: int
    batch: int
    payload: PayloadKind
    settings: LedgerSettings = GROUPED
    ready_made: bool = True


LOADS = (
    *(Load("append", producers, 1, "json") for producers in PRODUCERS),
    Load("append, a sync each", 32, 1, "json", SINGLE),
    Load("ready-made payloads", 1, BATCH, "json"),
    Load("signal events", 1, BATCH, "json", ready_made=False),
    Load("ready-made payloads", 1, BATCH, "protobuf"),
    Load("signal events", 1, BATCH, "protobuf", ready_made=False),
    Load("segment roll", 1, BATCH, "json", ROLLING),
)
# Appends, then a scan and a verification of each kind of payload.
CASES = len(LOADS) + 4


@dataclass(slots=True)
class Calls:
    """
    What the producers of one load share: until when to go on, and how long each call took.
    """

    deadline: float
    latencies_s: list[float] = field(default_factory=list)


class CountingDisk(Disk):
    """
    Counts the syncs and the bytes on their way to the OS.
    """

    def __init__(self) -> None:
        self.syncs = 0
        self.written_bytes = 0

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """
        See `Disk`.
        """
        taken = super().write(fd, data, at)
        self.written_bytes += taken
        return taken

    def sync_data(self, fd: int) -> None:
        """
        See `Disk`.
        """
        self.syncs += 1
        super().sync_data(fd)

    def sync(self, fd: int) -> None:
        """
        See `Disk`.
        """
        self.syncs += 1
        super().sync(fd)


async def measure(directory: Path, seconds: float) -> AsyncIterator[Figure]:
    """
    Yield the figures of all cases, each of which gets the same share of the time.
    """
    share = seconds / CASES
    for number, load in enumerate(LOADS):
        yield await append(directory / f"{number}", load, share)
    for number in range(len(LOADS)):
        load = LOADS[number]
        if load.case == "ready-made payloads":
            yield await asyncio.to_thread(scan, directory / f"{number}", load, share)
            yield await asyncio.to_thread(verify, directory / f"{number}", load, share)


async def append(place: Path, load: Load, seconds: float) -> Figure:
    """
    Put one load on a new ledger for so long.
    """
    disk = CountingDisk()
    async with open_ledger(place, SIGNALS, load.settings, disk=disk) as ledger:
        make = maker(load)
        await ledger.append([make()])
        syncs, written = disk.syncs, disk.written_bytes
        begun = time.perf_counter()
        calls = Calls(begun + seconds)
        producers: list[Awaitable[None]] = [produce(ledger, load.batch, make, calls) for _ in range(load.producers)]
        await asyncio.gather(*producers)
        took = time.perf_counter() - begun
        records = len(calls.latencies_s) * load.batch
        return Figure(
            load.case,
            load.producers,
            load.batch,
            load.payload,
            records,
            took,
            records / took,
            **percentiles_ms(calls.latencies_s),
            syncs_per_record=(disk.syncs - syncs) / records,
            bytes_per_record=(disk.written_bytes - written) / records,
        )


async def produce(ledger: Ledger, batch: int, make: Make, calls: Calls) -> None:
    """
    Append one batch after the other until time is up; the work of making the records counts.
    """
    while True:
        begun = time.perf_counter()
        await ledger.append([make() for _ in range(batch)])
        ended = time.perf_counter()
        calls.latencies_s.append(ended - begun)
        if ended >= calls.deadline:
            return


def maker(load: Load) -> Make:
    """
    Return what makes one record: anew from its message each time, or once and for all.
    """
    event, now = typical_signal(), datetime.now(UTC)
    event.emitted_at.FromDatetime(now)
    if not load.ready_made:
        return lambda: entry_of(event, load.payload)
    entry = Entry(now, digest_and_prepare(event, load.payload))
    return lambda: entry


def scan(place: Path, load: Load, seconds: float) -> Figure:
    """
    Read what a load has written, from the first record on.
    """
    ledger, begun, records = OfflineLedger(place, SIGNALS), time.perf_counter(), 0
    for _ in ledger.read():
        records += 1
        if records % 1000 == 0 and time.perf_counter() > begun + seconds:
            break
    took = time.perf_counter() - begun
    return Figure("full scan", 1, 1, load.payload, records, took, records / took)


def verify(place: Path, load: Load, seconds: float) -> Figure:
    """
    Verify what a load has written.
    """
    ledger, begun, records = OfflineLedger(place, SIGNALS), time.perf_counter(), 0
    for name in ledger.names():
        for step in ledger.verify(name):
            records = step.records_done if isinstance(step, Progress) else step.record_count
            if time.perf_counter() > begun + seconds:
                break
    took = time.perf_counter() - begun
    return Figure("verify", 1, 1, load.payload, records, took, records / took)
