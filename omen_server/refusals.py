"""
What the errors of ledger, desk and index are to a caller: one row each. The catalogue in the contract says the rest.
"""

from omen_rpc.errors import CallError, Reason, Violation, fault, invalid_fields
from omen_rpc.refusal import Translate, draining
from omen_server.desk.errors import DeadLetterNotFound, DeadLettersFull, DeskFull, DeskUnavailable
from omen_server.index.errors import IndexUnavailable
from omen_server.ledger.errors import (
    EmittedAhead,
    LedgerClosed,
    LedgerFull,
    LedgerPoisoned,
    LedgerWriteError,
    NaiveTime,
    PartitionDamaged,
    PartitionDayNotOver,
    PartitionEmpty,
    PartitionNotFound,
    PartitionNotSealed,
    RecordNotFound,
    RecordTooLarge,
    TooManyOpenPartitions,
)

WRITE_RETRY_S = 1.0
RESTART_RETRY_S = 2.0


def refuse_full(error: LedgerFull) -> CallError:
    """
    A full disk names no time to wait for: a person has to make room.
    """
    return fault(
        Reason.ERROR_REASON_STORAGE_EXHAUSTED,
        str(error),
        metadata={"path": error.path, "free_bytes": error.free_bytes},
    )


def refuse_damaged(error: PartitionDamaged) -> CallError:
    """
    Damage is told with its exact place.
    """
    return fault(
        Reason.ERROR_REASON_LEDGER_CORRUPT,
        str(error),
        metadata={"partition": error.partition, "file": error.file, "byte_offset": error.byte_offset},
    )


def refuse_too_many(error: TooManyOpenPartitions) -> CallError:
    """
    Both numbers are told, since one of them is a setting.
    """
    return fault(
        Reason.ERROR_REASON_TOO_MANY_OPEN_PARTITIONS,
        str(error),
        metadata={"open_partitions": error.open_partitions, "open_partitions_max": error.open_partitions_max},
    )


def refuse_time(error: EmittedAhead | NaiveTime) -> CallError:
    """
    A time that names no partition is the caller's field, wherever in the server it was noticed.
    """
    return invalid_fields([Violation("emitted_at", str(error).removesuffix("."))])


def refuse_desk_full(error: DeskFull | DeadLettersFull) -> CallError:
    """
    What could not be kept has no other place: the caller must know that it is not kept, and a person make room.
    """
    return fault(
        Reason.ERROR_REASON_STORAGE_EXHAUSTED,
        str(error),
        metadata={"path": error.path, "free_bytes": error.free_bytes},
    )


def refuse_desk_busy(error: DeskUnavailable) -> CallError:
    """
    The desk is of one kind, and its troubles pass.
    """
    return fault(
        Reason.ERROR_REASON_STORE_UNAVAILABLE,
        f"The desk does not answer: {error}.",
        metadata={"engine": "sqlite", "retry_after_s": WRITE_RETRY_S},
        retry_after_s=WRITE_RETRY_S,
    )


def refuse_index_away(error: IndexUnavailable) -> CallError:
    """
    Without the index nobody can tell whether a signal is there already. It comes back, or is made again, by itself.
    """
    return fault(
        Reason.ERROR_REASON_STORE_UNAVAILABLE,
        f"The index does not answer: {error}.",
        metadata={"engine": "index", "retry_after_s": WRITE_RETRY_S},
        retry_after_s=WRITE_RETRY_S,
    )


# `LedgerLocked`, `NotALedger` and `DeskFailed` have no row: a server that meets them does not start.
REFUSALS: Translate = {
    LedgerFull: refuse_full,
    LedgerWriteError: lambda error: fault(
        Reason.ERROR_REASON_LEDGER_WRITE_FAILED,
        str(error),
        metadata={"cause": error.cause},
        retry_after_s=WRITE_RETRY_S,
    ),
    LedgerPoisoned: lambda error: fault(
        Reason.ERROR_REASON_LEDGER_OUTCOME_UNKNOWN, str(error), retry_after_s=RESTART_RETRY_S
    ),
    LedgerClosed: lambda _: draining(),
    PartitionNotFound: lambda error: fault(
        Reason.ERROR_REASON_PARTITION_NOT_FOUND, str(error), metadata={"partition": error.partition}
    ),
    PartitionEmpty: lambda error: fault(
        Reason.ERROR_REASON_PARTITION_EMPTY, str(error), metadata={"partition": error.partition}
    ),
    PartitionNotSealed: lambda error: fault(
        Reason.ERROR_REASON_PARTITION_NOT_SEALED, str(error), metadata={"partition": error.partition}
    ),
    PartitionDayNotOver: lambda error: fault(
        Reason.ERROR_REASON_PARTITION_DAY_NOT_OVER, str(error), metadata={"partition": error.partition}
    ),
    PartitionDamaged: refuse_damaged,
    TooManyOpenPartitions: refuse_too_many,
    EmittedAhead: refuse_time,
    NaiveTime: refuse_time,
    RecordTooLarge: lambda error: fault(
        Reason.ERROR_REASON_SIGNAL_TOO_LARGE,
        str(error),
        metadata={"size_bytes": error.size_bytes, "size_bytes_max": error.size_bytes_max},
    ),
    RecordNotFound: lambda error: fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, str(error)),
    DeskFull: refuse_desk_full,
    DeadLettersFull: refuse_desk_full,
    DeskUnavailable: refuse_desk_busy,
    IndexUnavailable: refuse_index_away,
    DeadLetterNotFound: lambda error: fault(
        Reason.ERROR_REASON_DEAD_LETTER_NOT_FOUND, str(error), metadata={"dead_letter_id": error.dead_letter_id}
    ),
}
