"""
Everything the ledger can say no with. Data in them, the message from the data.

Two questions only: may the caller retry (`LedgerWriteError`, `LedgerFull`: nothing of the failed part was kept), and
must this process stop (`LedgerPoisoned`: nobody knows what the disk has, and only a restart finds out).
"""

from collections.abc import Sequence
from datetime import datetime

from omen_rpc.position import Position


class LedgerError(Exception):
    """
    Anything the ledger refuses or fails at.
    """


class LedgerWriteError(LedgerError):
    """
    The OS refused a write; what was not durable yet was taken back, and no counter moved.

    `durable` holds, in the order of the entries, the positions that had become durable before; the rest is not kept.
    """

    def __init__(self, cause: BaseException, durable: Sequence[Position] = ()) -> None:
        super().__init__(f"The ledger could not write: {cause}")
        self.cause = cause
        self.durable = tuple(durable)


class LedgerFull(LedgerWriteError):
    """
    The disk is full. The ledger stays readable and goes on by itself when space is back.
    """

    def __init__(self, path: str, free_bytes: int, cause: BaseException, durable: Sequence[Position] = ()) -> None:
        super().__init__(cause, durable)
        self.path = path
        self.free_bytes = free_bytes


class LedgerPoisoned(LedgerError):
    """
    The disk failed while something was being made durable: whether it is kept shows after a restart. Stop the process.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"The disk failed, and what it holds is unknown until a restart: {cause}")
        self.cause = cause


class LedgerLocked(LedgerError):
    """
    Another process writes this ledger.
    """

    def __init__(self, path: str, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "a process that left no id"
        super().__init__(f"The ledger at {path} is being written by {holder}.")
        self.path = path
        self.pid = pid


class LedgerClosed(LedgerError):
    """
    The ledger takes nothing any more; it was closed.
    """

    def __init__(self) -> None:
        super().__init__("The ledger is closed.")


class NotALedger(LedgerError):
    """
    The directory holds something, and it is no ledger this version reads: creating is not opening.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} is not a ledger: {reason}")
        self.path = path
        self.reason = reason


class PartitionNotFound(LedgerError):
    """
    No partition has this name.
    """

    def __init__(self, partition: str) -> None:
        super().__init__(f"No partition is named {partition!r}.")
        self.partition = partition


class PartitionEmpty(LedgerError):
    """
    The partition holds no record, so there is nothing to seal.
    """

    def __init__(self, partition: str) -> None:
        super().__init__(f"Partition {partition} holds no record.")
        self.partition = partition


class PartitionNotSealed(LedgerError):
    """
    What was asked for exists only once the partition is sealed.
    """

    def __init__(self, partition: str) -> None:
        super().__init__(f"Partition {partition} is not sealed.")
        self.partition = partition


class PartitionDamaged(LedgerError):
    """
    The partition's bytes do not follow from its manifest, so nothing further may be built on them.
    """

    def __init__(self, partition: str, file: str, byte_offset: int, reason: str) -> None:
        super().__init__(f"Partition {partition} is damaged: {file} at byte {byte_offset}: {reason}")
        self.partition = partition
        self.file = file
        self.byte_offset = byte_offset
        self.reason = reason


class PartitionDayNotOver(LedgerError):
    """
    The partition's day is not over, and the seal was not forced.
    """

    def __init__(self, partition: str) -> None:
        super().__init__(f"The day of partition {partition} is not over.")
        self.partition = partition


class TooManyOpenPartitions(LedgerError):
    """
    One more partition would be open than may be at once.
    """

    def __init__(self, open_partitions: int, open_partitions_max: int) -> None:
        super().__init__(f"{open_partitions} partitions are open; at most {open_partitions_max} may be.")
        self.open_partitions = open_partitions
        self.open_partitions_max = open_partitions_max


class EmittedAhead(LedgerError):
    """
    A record says it was emitted in the future.
    """

    def __init__(self, emitted_at: datetime, now: datetime, emitted_ahead_max_s: float) -> None:
        super().__init__(
            f"emitted_at {emitted_at.isoformat()} is more than {emitted_ahead_max_s:g} s ahead of {now.isoformat()}."
        )
        self.emitted_at = emitted_at
        self.now = now
        self.emitted_ahead_max_s = emitted_ahead_max_s


class NaiveTime(LedgerError):
    """
    A time came without its offset from UTC, so nobody can say which day it belongs to.
    """

    def __init__(self, emitted_at: datetime) -> None:
        super().__init__(f"emitted_at {emitted_at.isoformat()} has no UTC offset.")
        self.emitted_at = emitted_at


class RecordTooLarge(LedgerError):
    """
    A payload is empty or larger than a frame may hold.
    """

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"A payload of {size_bytes} bytes is outside of 1 to {size_bytes_max}.")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class RecordNotFound(LedgerError):
    """
    No record of a sealed partition answers the description.
    """

    def __init__(self, wanted: str) -> None:
        super().__init__(f"No sealed partition holds {wanted}.")
        self.wanted = wanted
