"""
The ledger: one directory, one writing process. This is what the rest of the server sees.
"""

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from omen_rpc.position import Position

from . import audit, backup, lifecycle, seal
from .catalogue import OpenFigures, PartitionInfo, describe, reconciled_through
from .durable import Disk, replace_file
from .entry import Codec, Entry
from .errors import LedgerFull, LedgerPoisoned, PartitionDayNotOver, PartitionEmpty, PartitionNotFound
from .fingerprint import Block, Fingerprints
from .frames import RawFrame, raw_frames
from .identity import Identity, ensure_identity, is_unused, read_identity
from .journal import Journal, Synced, nobody
from .lock import WriterLock
from .marks import Marks
from .names import BALLAST, RECONCILED, date_of, late_of
from .partition import Gap, PartitionFiles, partition_names, read_partition_files
from .reader import Walk, merge
from .recovery import Recovered, recover
from .segment import Record
from .settings import LedgerSettings
from .writer import Writer

Item = TypeVar("Item")

# Wanted positions closer together than this are read in one pass.
LEAP_POSITIONS = 256


def utc_now() -> datetime:
    """
    Return the time of this machine.
    """
    return datetime.now(UTC)


@asynccontextmanager
async def open_ledger(
    directory: Path,
    codec: Codec,
    settings: LedgerSettings | None = None,
    now: Callable[[], datetime] = utc_now,
    disk: Disk | None = None,
    synced: Callable[[Synced], None] = nobody,
) -> AsyncIterator["Ledger"]:
    """
    Open the ledger in *directory* for writing, recovering it first; an absent or unused directory becomes a ledger.

    *synced* is told of every group that a sync has made durable, in the writer's thread.

    Raises `LedgerLocked` while another process writes it, `NotALedger` for a directory that holds something else,
    `LedgerFull` when there is no room to recover, `LedgerPoisoned` when the disk fails: nothing was served then.
    """
    root = str(directory.absolute())
    ledger = await asyncio.to_thread(_open, root, codec, settings or LedgerSettings(), now, disk or Disk(), synced)
    ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


def _open(
    root: str,
    codec: Codec,
    settings: LedgerSettings,
    now: Callable[[], datetime],
    disk: Disk,
    synced: Callable[[Synced], None],
) -> "Ledger":
    if is_unused(disk, root):
        Path(root).mkdir(parents=True, exist_ok=True)
    else:
        read_identity(disk, root)
    lock = WriterLock(disk, root)
    try:
        identity = ensure_identity(disk, root, now)
        marks = Marks()
        recovered = _recover(disk, root, settings, codec)
        journal = Journal(disk, root, settings, now, recovered, marks, synced)
        journal.keep_ballast()
    except OSError as error:
        lock.release()
        if error.errno == errno.ENOSPC:
            raise LedgerFull(root, disk.free_bytes(root), error) from error
        raise LedgerPoisoned(error) from error
    except BaseException:
        lock.release()
        raise
    return Ledger(root, disk, codec, settings, now, lock, journal, marks, identity, recovered)


def _recover(disk: Disk, root: str, settings: LedgerSettings, codec: Codec) -> Recovered:
    """
    Recover, and again with the ballast freed when the disk is full: recovering twice is recovering once.
    """
    try:
        return recover(disk, root, settings, codec)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        disk.unlink(f"{root}/{BALLAST}")
        return recover(disk, root, settings, codec)


class Ledger:
    """
    An open ledger. Made by `open_ledger`, which owns its lock, its writer thread and its readers.
    """

    def __init__(
        self,
        root: str,
        disk: Disk,
        codec: Codec,
        settings: LedgerSettings,
        now: Callable[[], datetime],
        lock: WriterLock,
        journal: Journal,
        marks: Marks,
        identity: Identity,
        recovered: Recovered,
    ) -> None:
        self._root, self._disk, self._codec, self._settings, self._now = root, disk, codec, settings, now
        self._lock, self._journal, self._marks = lock, journal, marks
        self.identity = identity
        self.recovered = recovered
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="ledger-reader")
        self._moved = asyncio.Event()
        self._sealing = asyncio.Lock()
        self._counting: dict[str, asyncio.Lock] = {}
        self._fingerprints: dict[str, Fingerprints] = {}

    def start(self) -> None:
        """
        Begin to take records.
        """
        self._writer = Writer(self._journal, self._settings, self._wake)
        self._writer.start()

    async def close(self) -> None:
        """
        Append what is queued, then let go of the directory. Closing twice is closing once.
        """
        await self._writer.close()
        self._wake()
        self._readers.shutdown(wait=True, cancel_futures=True)
        for sums in self._fingerprints.values():
            sums.save(self._disk)
        self._lock.release()

    @property
    def failed(self) -> asyncio.Future[LedgerPoisoned]:
        """
        Settled when the process must end: what the disk holds is unknown until a restart has looked.
        """
        return self._writer.failed

    @property
    def durable_offset(self) -> int:
        """
        Return the highest offset that survives a power cut. Everything at and below it is readable or a named gap.
        """
        return self._journal.durable_offset

    @property
    def written_offset(self) -> int:
        """
        Return the highest offset handed to the OS. What lies above the durable one may not survive.
        """
        return self._journal.written_offset

    @property
    def read_only(self) -> LedgerFull | None:
        """
        Return why nothing can be appended right now, or None. Looks at the disk again, so it ends without a restart.
        """
        full = self._journal.full
        free_bytes = self._disk.free_bytes(self._root) if full is not None else 0
        return full if full is not None and free_bytes < self._settings.resume_free_bytes else None

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        """
        Append *entries* in order and return their positions once all of them survive a power cut.

        A caller that is cancelled disturbs nothing: what was handed in is appended. Raises `EmittedAhead`, `NaiveTime`
        and `TooManyOpenPartitions` before anything is written; `RecordTooLarge`, `LedgerFull` and `LedgerWriteError`
        with the positions that are durable nevertheless; `LedgerPoisoned` when the outcome is unknown.
        """
        return await self._writer.append(entries) if entries else []

    async def wait_beyond(self, offset: int) -> int:
        """
        Return the durable offset as soon as it is higher than *offset*.
        """
        while self.durable_offset <= offset:
            moved = self._moved
            await moved.wait()
        return self.durable_offset

    async def read(self, after_offset: int = 0, through_offset: int = 0) -> AsyncIterator[list[Record | Gap]]:
        """
        Yield batches of everything behind an offset, in the order of offsets, up to what is durable now.
        """
        through = min(through_offset or self.durable_offset, self.durable_offset)
        async for batch in self._batches(lambda: self._merged(after_offset, through)):
            yield batch

    async def read_partition(
        self,
        name: str,
        after_index: int = 0,
        through_index: int = 0,
        indexes: Sequence[int] = (),
        *,
        include_late: bool = False,
    ) -> AsyncIterator[list[Record | Gap]]:
        """
        Yield batches of a partition's records and gaps in order; of *indexes* only, when there are any.
        """
        self._check_known(name)
        async for batch in self._batches(partial(self._selected, name, after_index, through_index, indexes)):
            yield batch
        late = late_of(date_of(name).isoformat())
        if include_late and late != name and late in self._journal.tails():
            async for batch in self._batches(partial(self._selected, late, 0, 0, ())):
                yield batch

    def names(self) -> dict[str, bool]:
        """
        Return the name of every partition, oldest first, and whether it takes no more records.
        """
        return {name: tail.sealed for name, tail in sorted(self._journal.tails().items())}

    async def partitions(self) -> list[PartitionInfo]:
        """
        Return every partition, archived and deleted ones too, oldest first.
        """
        return [await self.partition(name) for name in await self._run(partition_names, self._disk, self._root)]

    async def partition(self, name: str) -> PartitionInfo:
        """
        Return one partition; an open one is counted up to now.
        """
        self._check_known(name)
        files = await self._run(read_partition_files, self._disk, self._root, name)
        sums = await self._count(files) if not files.sealed else Fingerprints(files.directory)
        return await self._run(describe, self._disk, files, self._figures(name, sums))

    async def fingerprint(self, name: str, first_index: int = 1, through_index: int = 0) -> Block:
        """
        Return the count and the fingerprint of a range of positions; its `block` says nothing.
        """
        count = high = low = 0
        for block in await self.blocks(name, first_index, through_index):
            count, high, low = count + block.count, high ^ block.high, low ^ block.low
        return Block(0, count, high, low)

    async def blocks(self, name: str, first_index: int = 1, through_index: int = 0) -> list[Block]:
        """
        Return the fingerprints of the blocks from one position to another, the edges cut to that range.
        """
        self._check_known(name)
        files = await self._run(read_partition_files, self._disk, self._root, name)
        sums = await self._count(files)
        through = through_index or self.durable_index(name)
        return await self._run(
            lambda: list(sums.blocks(lambda index: self._walk(files, index), self._codec, first_index, through))
        )

    def durable_index(self, name: str) -> int:
        """
        Return the highest durable position of a partition, those in gaps included.
        """
        self._check_known(name)
        return self._journal.tails()[name].index

    async def gaps(self, name: str) -> list[Gap]:
        """
        Return a partition's gaps as of its last count: the ones that its fingerprints leave out.
        """
        self._check_known(name)
        return list((await self._count(await self._run(read_partition_files, self._disk, self._root, name))).gaps)

    async def seal(self, name: str, *, force: bool = False) -> tuple[PartitionInfo, bool]:
        """
        Close a partition for good and return it, and whether it had been sealed before. *force* seals a day in progress.
        """
        self._check_known(name)
        async with self._sealing:
            tail = self._journal.tails()[name]
            if tail.sealed:
                return await self.partition(name), True
            if not force and not seal.is_day_over(name, self._now()):
                raise PartitionDayNotOver(name)
            if tail.index == 0:
                raise PartitionEmpty(name)
            through = await self._writer.order(lambda: self._journal.freeze(name))
            try:
                await self._run(seal.seal, self._disk, self._root, name, through, self._codec, self._now)
            except BaseException as error:
                await self._undo_seal(name, through, error)
                raise
        return await self.partition(name), False

    async def seal_due(self) -> list[str]:
        """
        Seal what has been quiet for as long as the settings say, and return which partitions those were.
        """
        due = self.due()
        for name in due:
            await self.seal(name)
        return due

    def due(self) -> list[str]:
        """
        Return the partitions that have been quiet for as long as the settings say, oldest first.
        """
        return [
            name
            for name, tail in sorted(self._journal.tails().items())
            if not tail.sealed and tail.index and seal.is_due(name, tail.written_at, self._now(), self._settings)
        ]

    async def verify(self, name: str) -> AsyncIterator[audit.Progress | audit.Verdict]:
        """
        Derive everything about a partition again from its bytes: progress, then the verdict.
        """
        self._check_known(name)
        async for batch in self._batches(
            lambda: audit.verify(self._disk, self._root, name, self._codec, live=True), records_max=1
        ):
            for item in batch:
                yield item

    async def prove(self, signal_id: str, partition: str | None = None) -> audit.Proof:
        """
        Return a proof that a sealed partition holds a signal.
        """
        return await self._run(audit.prove, self._disk, self._root, signal_id, self._codec, partition)

    async def frames(self, name: str, after_index: int, frames_max: int) -> list[RawFrame]:
        """
        Return frames as they lie on disk, from behind a position, damaged ones too.
        """
        self._check_known(name)
        files = await self._run(read_partition_files, self._disk, self._root, name)
        limit = self._journal.limits.get(name)
        return await self._run(raw_frames, self._disk, files, self._codec, after_index, frames_max, limit)

    async def confirm_reconciled(self, name: str, through_index: int) -> int:
        """
        Keep up to which position a partition was proven complete, and return the highest one on record.
        """
        self._check_known(name)
        files = await self._run(read_partition_files, self._disk, self._root, name)

        def keep() -> int:
            through = min(max(reconciled_through(self._disk, files.directory), through_index), self.durable_index(name))
            text = json.dumps({"reconciled_through": through}).encode()
            replace_file(self._disk, f"{files.directory}/{RECONCILED}", text)
            return through

        return await self._writer.order(keep)

    async def run_lifecycle(self, *, dry_run: bool) -> list[lifecycle.Step]:
        """
        Move sealed partitions to the tiers of their age, or say what would be moved.
        """
        async with self._sealing:
            return await self._run(
                lambda: list(lifecycle.run(self._disk, self._root, self._settings, self._now(), dry_run=dry_run))
            )

    async def back_up(self, target: Path) -> backup.Copied:
        """
        Copy everything that is durable now into an unused directory.
        """
        through, place = self.durable_offset, str(target.absolute())
        async with self._sealing:
            return await self._run(backup.back_up, self._disk, self._root, place, self._codec, through, self._now())

    def _check_known(self, name: str) -> None:
        if name not in self._journal.tails():
            raise PartitionNotFound(name)

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _run(self, step: Callable[..., Item], *arguments: object) -> Item:
        return await asyncio.get_running_loop().run_in_executor(self._readers, step, *arguments)

    async def _batches(self, begin: Callable[[], Iterator[Item]], records_max: int = 0) -> AsyncIterator[list[Item]]:
        """
        Pull an iterator batch by batch outside of the event loop, holding one batch at a time.
        """
        records_max = records_max or self._settings.read_batch_records_max
        items = await self._run(begin)
        while batch := await self._run(_next_batch, items, records_max, self._settings.read_batch_bytes_max):
            yield batch

    def _walk(self, files: PartitionFiles, after_index: int = 0, after_offset: int = 0) -> Walk:
        limit = self._journal.limits.get(files.name)
        return Walk(self._disk, files, self._codec, self._marks, after_index, after_offset, limit)

    def _merged(self, after_offset: int, through_offset: int) -> Iterator[Record | Gap]:
        walks = []
        for name, tail in self._journal.tails().items():
            if tail.offset > after_offset:
                files = read_partition_files(self._disk, self._root, name)
                first = (
                    self._marks.first(self._disk, files, min(files.segments), self._codec) if files.segments else None
                )
                begin = first[1] if first is not None else 0
                walks.append((begin, partial(self._walk, files, after_offset=after_offset)))
        return merge(walks, after_offset, through_offset)

    def _selected(
        self, name: str, after_index: int, through_index: int, indexes: Sequence[int]
    ) -> Iterator[Record | Gap]:
        files = read_partition_files(self._disk, self._root, name)
        if not indexes:
            for item in self._walk(files, after_index):
                first = item.position.index if isinstance(item, Record) else item.first_index
                if through_index and first > through_index:
                    return
                yield item
            return
        wanted = sorted(set(indexes))
        while wanted:
            # Each leap begins at the mark before the next wanted position; neighbours are read in one go.
            for item in self._walk(files, wanted[0] - 1):
                first, last = (
                    (item.position.index,) * 2 if isinstance(item, Record) else (item.first_index, item.last_index)
                )
                if last >= wanted[0] >= first:
                    yield item
                    wanted = [index for index in wanted if index > last]
                if not wanted or wanted[0] > last + LEAP_POSITIONS:
                    break
            else:
                return

    async def _count(self, files: PartitionFiles) -> Fingerprints:
        async with self._counting.setdefault(files.name, asyncio.Lock()):
            sums = self._fingerprints.get(files.name)
            if sums is None or sums.directory != files.directory:
                sums = await self._run(Fingerprints.load, self._disk, files.directory)
                if sums.through > self.durable_index(files.name):
                    sums = Fingerprints(files.directory)
                self._fingerprints[files.name] = sums
            if sums.through < self.durable_index(files.name):
                await self._run(sums.advance, lambda index: self._walk(files, index), self._codec)
                if files.sealed:
                    await self._run(sums.save, self._disk)
            return sums

    def _figures(self, name: str, sums: Fingerprints) -> OpenFigures:
        tail, limit = self._journal.tails()[name], self._journal.limits[name]
        return OpenFigures(
            limit=limit,
            last_sequence=(tail.ordinal << 32) | tail.record,
            first_offset=sums.first_offset,
            last_offset=tail.offset,
            distinct_signal_ids=sums.distinct_signal_ids(),
            corrupt_count=sums.lost,
            sealing=tail.sealed,
        )

    async def _undo_seal(self, name: str, through: int, error: BaseException) -> None:
        """
        Open a partition again whose seal failed, unless arrivals have opened it already, and take the error's meaning.
        """

        def undo() -> None:
            tail = self._journal.tails()[name]
            if tail.sealed and tail.ordinal == through:
                self._journal.thaw(name)
            if isinstance(error, OSError):
                raise self._journal.fail(error) from error

        with suppress(asyncio.CancelledError):
            await self._writer.order(undo)


def _next_batch(items: Iterator[Item], records_max: int, bytes_max: int) -> list[Item]:
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item.payload) if isinstance(item, Record) else 0
        if len(batch) >= records_max or size >= bytes_max:
            break
    return batch
