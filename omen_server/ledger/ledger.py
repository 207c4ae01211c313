"""
The ledger as the rest of the server sees it: asynchronous, and durable before it says so.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from omen_rpc.position import Position

from . import audit, backup, lifecycle, seal
from .batches import first_batch, next_batch
from .catalogue import PartitionInfo, reconciled_through
from .durable import Disk, replace_file
from .entry import Codec, Entry
from .errors import LedgerFull, LedgerPoisoned, PartitionDayNotOver, PartitionEmpty, PartitionNotFound
from .fingerprint import Block
from .frames import RawFrame
from .identity import Identity
from .journal import Journal
from .live import LiveReader
from .lock import WriterLock
from .names import RECONCILED, date_of, late_of
from .partition import Gap, partition_names, read_partition_files
from .recovery import Recovered
from .segment import Record
from .settings import LedgerSettings
from .writer import Writer

Item = TypeVar("Item")
READERS = 4


@dataclass(frozen=True, slots=True)
class Opened:
    """
    What opening a ledger has put together: a recovered directory under a lock that somebody must release.
    """

    root: str
    disk: Disk
    codec: Codec
    settings: LedgerSettings
    now: Callable[[], datetime]
    identity: Identity
    recovered: Recovered
    lock: WriterLock
    journal: Journal
    reader: LiveReader


class Ledger:
    """
    An open ledger. Made by `open_ledger`; owns the lock, the writer's thread and the readers'.
    """

    def __init__(self, opened: Opened) -> None:
        self._root, self._disk, self._codec = opened.root, opened.disk, opened.codec
        self._settings, self._now = opened.settings, opened.now
        self._lock, self._journal, self._reader = opened.lock, opened.journal, opened.reader
        self.identity, self.recovered = opened.identity, opened.recovered
        # Hears of all that is read by offset, and of gaps that counting meets. Until somebody listens it does nothing.
        self.heard: Callable[[Sequence[Record | Gap]], object] = len
        self.root = opened.root
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
        self._moved = asyncio.Event()
        self._sealing = asyncio.Lock()
        self._closed = False
        self._writer = Writer(self._journal, self._settings, self._wake)
        self._writer.start()

    async def close(self) -> None:
        """
        Append what is queued, then let go of the directory. Closing twice is closing once.
        """
        await self._writer.close()
        self._wake()
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
            await asyncio.to_thread(self._reader.keep_counts)
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
    def free_bytes(self) -> int:
        """
        Return how much may still be written.
        """
        return self._disk.free_bytes(self._root)

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

    async def read(self, after_offset: int = 0, through_offset: int = 0) -> AsyncGenerator[list[Record | Gap], None]:
        """
        Yield batches of everything behind an offset, in the order of offsets, up to what is durable now.
        """
        through = min(through_offset or self.durable_offset, self.durable_offset)
        async for batch in self._batches(partial(self._reader.everything, after_offset, through)):
            self.heard(batch)
            yield batch

    async def retained_after(self) -> int:
        """
        Return the offset up to which retention has deleted everything; 0 when it has deleted nothing.
        """
        return await self._run(self._reader.retained_after)

    async def is_deleted(self, offset: int) -> bool:
        """
        Tell whether an offset lies before everything that retention has left.
        """
        return await self._run(partial(self._reader.is_deleted, offset))

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
        async for batch in self._batches(partial(self._reader.partition, name, after_index, through_index, indexes)):
            yield batch
        late = late_of(date_of(name).isoformat())
        if include_late and late != name and late in self._journal.tails():
            async for batch in self._batches(partial(self._reader.partition, late, 0, 0, ())):
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
        names = await self._run(partial(partition_names, self._disk, self._root))
        return [await self.partition(name) for name in names if name in self._journal.tails()]

    async def partition(self, name: str) -> PartitionInfo:
        """
        Return one partition; an open one is counted up to now.
        """
        self._check_known(name)
        return await self._run(partial(self._reader.describe, name))

    async def size(self) -> tuple[int, int]:
        """
        Return how many records there are, counted or not, and how many bytes they take; no record is read for it.
        """
        return await self._run(self._reader.size)

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
        return await self._run(partial(self._reader.blocks, name, first_index, through_index))

    def durable_index(self, name: str) -> int:
        """
        Return the highest durable position of a partition, those in gaps included.
        """
        self._check_known(name)
        return self._journal.tails()[name].index

    async def gaps(self, name: str) -> list[Gap]:
        """
        Return a partition's gaps as of its last count: exactly those that its fingerprints leave out.
        """
        self._check_known(name)
        gaps = await self._run(partial(self._reader.gaps, name))
        self.heard(gaps)
        return gaps

    async def seal(self, name: str, *, force: bool = False) -> tuple[PartitionInfo, bool]:
        """
        Close a partition for good; return it, and whether it had been sealed before. *force* seals a day in progress.
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
            through = await self._writer.order(partial(self._journal.freeze, name))
            self._reader.look_again()
            step = partial(seal.seal, self._disk, self._root, name, through, codec=self._codec, now=self._now)
            try:
                await self._run(step)
            except BaseException as error:
                await self._undo_seal(name, through, error)
                raise
            finally:
                self._reader.look_again()
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
        begin = partial(audit.verify, self._disk, self._root, name, self._codec, live=True)
        async for batch in self._batches(begin, records_max=1):
            for item in batch:
                yield item

    async def prove(self, signal_id: str, partition: str | None = None) -> audit.Proof:
        """
        Return a proof that a sealed partition holds a signal.
        """
        return await self._run(partial(audit.prove, self._disk, self._root, signal_id, self._codec, partition))

    async def frames(self, name: str, after_index: int, frames_max: int) -> list[RawFrame]:
        """
        Return frames as they lie on disk, from behind a position, damaged ones too.
        """
        self._check_known(name)
        return await self._run(partial(self._reader.frames, name, after_index, frames_max))

    async def confirm_reconciled(self, name: str, through_index: int) -> int:
        """
        Keep up to which position a partition was proven complete, and return the highest one on record.
        """
        self._check_known(name)

        def keep() -> int:
            directory = self._reader.files(name).directory
            through = min(max(reconciled_through(self._disk, directory), through_index), self.durable_index(name))
            try:
                text = json.dumps({"reconciled_through": through}).encode()
                replace_file(self._disk, f"{directory}/{RECONCILED}", text)
            except OSError as error:
                raise self._journal.fail(error) from error
            return through

        return await self._writer.order(keep)

    async def run_lifecycle(self, *, dry_run: bool) -> list[lifecycle.Step]:
        """
        Move sealed partitions to the tiers of their age, or say what would be moved.
        """
        now = self._now()

        def run() -> list[lifecycle.Step]:
            return list(lifecycle.run(self._disk, self._root, self._settings, now, dry_run=dry_run))

        async with self._sealing:
            try:
                return await self._run(run)
            except OSError as error:
                raise await self._writer.order(partial(self._journal.fail, error)) from error
            finally:
                self._reader.look_again()

    async def back_up(self, target: Path) -> backup.Copied:
        """
        Copy everything that is durable now into an unused directory.
        """
        through, now = self.durable_offset, self._now()

        def copy() -> backup.Copied:
            place = str(target.absolute())
            return backup.back_up(self._disk, self._root, place, self._codec, through_offset=through, now=now)

        async with self._sealing:
            return await self._run(copy)

    def _check_known(self, name: str) -> None:
        if name not in self._journal.tails():
            raise PartitionNotFound(name)

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _run(self, step: Callable[[], Item]) -> Item:
        return await asyncio.get_running_loop().run_in_executor(self._threads, step)

    async def _batches(self, begin: Callable[[], Iterator[Item]], records_max: int = 0) -> AsyncIterator[list[Item]]:
        """
        Pull an iterator batch by batch outside of the event loop, holding one batch at a time.
        """
        records_max = records_max or self._settings.read_batch_records_max
        bytes_max = self._settings.read_batch_bytes_max
        # A short read is one hop to a thread and back: it begins there, and a batch with room left was the last one.
        items, batch, more = await self._run(lambda: first_batch(begin, records_max, bytes_max))
        while batch:
            yield batch
            if not more:
                return
            batch, more = await self._run(partial(next_batch, items, records_max, bytes_max))

    async def _undo_seal(self, name: str, through: int, error: BaseException) -> None:
        """
        Open a partition again whose seal failed, unless arrivals have opened it already, and take the error's meaning.
        """

        def undo() -> None:
            tail = self._journal.tails()[name]
            sealed = read_partition_files(self._disk, self._root, name).sealed
            if tail.sealed and tail.ordinal == through and not sealed:
                self._journal.thaw(name)
            if isinstance(error, OSError):
                raise self._journal.fail(error) from error

        with suppress(asyncio.CancelledError):
            await self._writer.order(undo)
