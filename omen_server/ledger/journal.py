"""
The writing half of the ledger, step by step: which partition, which place, which file, and what if the OS says no.

One thread owns a journal. It is synchronous, so that the crash explorer runs this very code.
"""

import errno
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter
from typing import NamedTuple, NoReturn

from omen_rpc.position import Position

from .durable import Disk, SyncFailed, create_file, cut, make_directory, move, replace_file, settle_data, write_all
from .entry import Entry, sequence_of
from .errors import (
    EmittedAhead,
    LedgerError,
    LedgerFull,
    LedgerPoisoned,
    LedgerWriteError,
    TooManyOpenPartitions,
)
from .format import encode_frame
from .marks import Marks
from .names import ARCHIVE, BALLAST, CURRENT, day_of, late_of, segment_name
from .reader import Limit
from .recovery import PartitionTail, Recovered
from .settings import LedgerSettings

_log = logging.getLogger(__name__)

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class _Group(NamedTuple):
    """
    Frames that one sync will cover. `results` has a place for each entry, or why it has none.
    """

    frames: list[bytes]
    positions: list[Position]
    results: list[Position | LedgerError]
    size_bytes: int


class Synced(NamedTuple):
    """
    What one sync has made durable, and how long it took.
    """

    records: int
    size_bytes: int
    seconds: float


def nobody(_synced: Synced) -> None:
    """
    Listen to nothing.
    """


class Journal:
    """
    Gives records their places and makes them durable, group by group.

    After a failure that leaves the disk's content unknown it is poisoned and does nothing any more.
    """

    def __init__(
        self,
        disk: Disk,
        root: str,
        settings: LedgerSettings,
        now: Callable[[], datetime],
        recovered: Recovered,
        *,
        synced: Callable[[Synced], None] = nobody,
    ) -> None:
        self._disk = disk
        self._root = root
        self._settings = settings
        self._now = now
        self._tails = recovered.tails
        self._synced = synced
        # Shared with the readers of this process: what the writer has just put somewhere they need not search.
        self.marks = Marks()
        self.durable_offset = self.written_offset = recovered.last_offset
        self.limits = {name: _limit(tail) for name, tail in self._tails.items()}
        self.poison: LedgerPoisoned | None = None
        self.full: LedgerFull | None = None

    def route(self, emitted_at: datetime, new: set[str]) -> str:
        """
        Return the partition that takes a record of this moment. *new* collects partitions the caller is about to open.
        """
        now = self._now()
        partition = day_of(emitted_at)
        if (emitted_at - now).total_seconds() > self._settings.emitted_ahead_max_s:
            raise EmittedAhead(emitted_at, now, self._settings.emitted_ahead_max_s)
        tail = self._tails.get(partition)
        if tail is not None and tail.sealed:
            partition = late_of(partition)
            tail = self._tails.get(partition)
        if tail is None or tail.sealed:
            count = sum(not tail.sealed for tail in self._tails.values()) + len(new - {partition})
            if count >= self._settings.open_partitions_max:
                raise TooManyOpenPartitions(count, self._settings.open_partitions_max)
            new.add(partition)
        return partition

    def commit(self, partition: str, entries: Sequence[Entry], results: list[Position | LedgerError]) -> None:
        """
        Append *entries* in order and return when all are durable.

        *results* gets a position for each entry, or the error of that entry alone; on a failure of the ledger it is
        shorter than *entries*, and what it holds is durable nevertheless.
        """
        self.check_writable()
        done = 0
        while done < len(entries):
            tail = self._tails.get(partition) or PartitionTail(partition, sealed=True)
            group = self._stamp(tail, entries[done : done + self._settings.batch_records_max])
            if not group.results:
                self._guard(self._start_segment, tail)
                continue
            if group.frames:
                self._guard(self._write, tail, group)
            results.extend(group.results)
            done += len(group.results)

    def check_writable(self) -> None:
        """
        Raise what stands in the way of appending. A full disk is looked at again, so space that came back is used.
        """
        if self.poison is not None:
            raise self.poison
        if self.full is None:
            return
        free_bytes = self._disk.free_bytes(self._root)
        if free_bytes < self._settings.resume_free_bytes:
            raise LedgerFull(self._root, free_bytes, self.full.cause)
        self.keep_ballast()
        self.full = None
        _log.warning("Space is back: %d bytes are free, the ledger takes records again", free_bytes)

    def keep_ballast(self) -> None:
        """
        Set space aside for the moment when there is none. Without room for it the ledger works all the same.
        """
        with suppress(OSError):
            fd = self._disk.open(f"{self._root}/{BALLAST}", create=True)
            try:
                self._disk.allocate(fd, self._settings.ballast_bytes)
            finally:
                self._disk.close(fd)

    def freeze(self, partition: str) -> int:
        """
        Take nothing more into the segments there are, and return the ordinal of the last one. A seal follows.
        """
        tail = self._tails[partition]
        self._close(tail)
        tail.sealed = True
        return tail.ordinal

    def thaw(self, partition: str) -> None:
        """
        Take records again: the seal did not come about.
        """
        tail = self._tails[partition]
        tail.sealed = False
        # The next record begins a segment, so the files that were to be sealed stay as they were read.
        tail.size_bytes = self._settings.segment_bytes_max

    def tails(self) -> dict[str, PartitionTail]:
        """
        Return where each partition stands.
        """
        return dict(self._tails)

    def forget(self, partition: str) -> None:
        """
        Drop a partition whose files are gone; its offsets stay used.
        """
        self._tails[partition].sealed = True
        self.limits.pop(partition, None)

    def close(self) -> None:
        """
        Let go of the files. Everything in them is durable already.
        """
        for tail in self._tails.values():
            self._close(tail)

    def fail(self, cause: OSError) -> LedgerError:
        """
        Return what a failed OS call means, and remember it when it means more than this call.
        """
        if isinstance(cause, SyncFailed) or cause.errno == errno.EIO:
            # What the disk holds is unknown. Bail out; the next start rewrites the tails and finds out.
            self.poison = LedgerPoisoned(cause)
            return self.poison
        if cause.errno in _NO_SPACE:
            self.full = LedgerFull(self._root, self._disk.free_bytes(self._root), cause)
            with suppress(OSError):
                self._disk.unlink(f"{self._root}/{BALLAST}")
            _log.error(
                "The disk is full: the ledger is read-only until %d bytes are free", self._settings.resume_free_bytes
            )
            return self.full
        return LedgerWriteError(cause)

    def _guard(self, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(*arguments)
        except OSError as error:
            self._raise(error)

    def _raise(self, cause: OSError) -> NoReturn:
        raise self.fail(cause) from cause

    def _stamp(self, tail: PartitionTail, entries: Sequence[Entry]) -> _Group:
        """
        Give as many entries their places as one sync and the segment have room for; none when the segment is full.
        """
        frames: list[bytes] = []
        positions: list[Position] = []
        results: list[Position | LedgerError] = []
        size = 0
        durable, written_at = self.durable_offset, _nanoseconds(self._now())
        settings = self._settings
        if tail.sealed or tail.record >= settings.segment_records_max or tail.size_bytes >= settings.segment_bytes_max:
            return _Group(frames, positions, results, size)
        for entry in entries:
            rank = len(frames) + 1
            position = Position(
                tail.partition,
                sequence_of(tail.ordinal, tail.record + rank),
                tail.index + rank,
                durable + rank,
                durable,
                written_at,
            )
            try:
                frame = encode_frame(entry.record.stamp(position))
            except LedgerError as error:
                results.append(error)
                continue
            except Exception as error:  # noqa: BLE001 - a producer's bug costs its record, not the writer.
                results.append(LedgerWriteError(error))
                continue
            begun = tail.size_bytes + size > 0
            if begun and tail.size_bytes + size + len(frame) > settings.segment_bytes_max:
                break
            if frames and size + len(frame) > settings.batch_bytes_max:
                break
            frames.append(frame)
            positions.append(position)
            results.append(position)
            size += len(frame)
            if tail.record + rank >= settings.segment_records_max:
                break
        return _Group(frames, positions, results, size)

    def _write(self, tail: PartitionTail, group: _Group) -> None:
        """
        Write one group and sync it. Only then do the counters move, and nobody sees a record before they have.
        """
        if tail.fd is None:
            tail.fd = self._disk.open(f"{self._root}/{tail.partition}/{segment_name(tail.ordinal)}", create=False)
        try:
            write_all(self._disk, tail.fd, b"".join(group.frames), tail.size_bytes)
        except OSError as error:
            if error.errno != errno.EIO:
                self._take_back(tail, tail.fd)
            raise
        start, last = tail.size_bytes, group.positions[-1]
        self.written_offset = last.offset
        began_s = perf_counter()
        settle_data(self._disk, tail.fd)
        took_s = perf_counter() - began_s
        tail.size_bytes += group.size_bytes
        tail.record += len(group.positions)
        tail.index, tail.offset, tail.written_at = last.index, last.offset, last.written_at
        self.marks.note(tail.partition, tail.ordinal, group.positions[0], start)
        self.limits[tail.partition] = _limit(tail)
        self.durable_offset = last.offset
        self._synced(Synced(len(group.positions), group.size_bytes, took_s))

    def _take_back(self, tail: PartitionTail, fd: int) -> None:
        """
        Cut away what a failed write left. When even that fails, nobody knows what the file holds.
        """
        try:
            cut(self._disk, fd, tail.size_bytes)
        except OSError as error:
            raise SyncFailed(error) from error

    def _start_segment(self, tail: PartitionTail) -> None:
        """
        Begin the next segment of a partition. What the last one holds is durable: every group was synced on its own.

        A crash leaves an empty segment, or one that `_CURRENT` does not name yet; the newest file counts. So it
        does after a failure: the last segment takes nothing more, however small, and the next attempt makes the same
        one again. Recovery looks for a tear, and writes again what a failed sync may have left, in the newest only.
        """
        tail.size_bytes = max(tail.size_bytes, self._settings.segment_bytes_max)
        directory = f"{self._root}/{tail.partition}"
        if tail.partition in self._disk.names(f"{self._root}/{ARCHIVE}"):
            move(self._disk, f"{self._root}/{ARCHIVE}/{tail.partition}", directory)
        ordinal = tail.ordinal + 1
        name = segment_name(ordinal)
        make_directory(self._disk, directory)
        create_file(self._disk, f"{directory}/{name}")
        replace_file(self._disk, f"{directory}/{CURRENT}", name.encode())
        fd = self._disk.open(f"{directory}/{name}", create=False)
        self._close(tail)
        if tail.ordinal:
            with suppress(OSError):
                self._disk.protect(f"{directory}/{segment_name(tail.ordinal)}")
        tail.ordinal, tail.size_bytes, tail.record, tail.sealed, tail.fd = ordinal, 0, 0, False, fd
        self._tails[tail.partition] = tail

    def _close(self, tail: PartitionTail) -> None:
        if tail.fd is not None:
            self._disk.close(tail.fd)
            tail.fd = None


def _limit(tail: PartitionTail) -> Limit:
    # A tail that takes nothing has no writer ahead of its readers: all of its bytes may be read.
    return Limit(tail.ordinal, 1 << 62 if tail.fd is None else tail.size_bytes, tail.index)


def _nanoseconds(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
