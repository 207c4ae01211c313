import errno
import inspect
from datetime import UTC, datetime
from pathlib import Path

import pytest

from omen_rpc.errors import CallError
from omen_rpc.refusal import explain
from omen_server.desk import errors as desk_errors
from omen_server.index import IndexUnavailable
from omen_server.ledger import errors
from omen_server.refusals import REFUSALS

NOW = datetime(2026, 1, 28, tzinfo=UTC)
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
# A server that meets one of these does not start, so no call ever sees them.
AT_START = {errors.LedgerLocked, errors.NotALedger}
EVERY = {
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.LedgerError) and kind is not errors.LedgerError
}
# Of the desk's, what a call may meet; a busy one is unavailable, and has its row.
OF_THE_DESK = {
    desk_errors.DeskUnavailable,
    desk_errors.DeskFull,
    desk_errors.DeadLettersFull,
    desk_errors.DeadLetterNotFound,
}
ROWS = [
    (errors.LedgerWriteError(NO_SPACE), "LEDGER_WRITE_FAILED", {"cause": "[Errno 28] No space left on device"}),
    (errors.LedgerFull("/data", 42, NO_SPACE), "STORAGE_EXHAUSTED", {"path": "/data", "free_bytes": "42"}),
    (errors.LedgerPoisoned(OSError(errno.EIO, "I/O error")), "LEDGER_OUTCOME_UNKNOWN", {}),
    (errors.LedgerClosed(), "DRAINING", {"retry_after_s": "1.0"}),
    (errors.PartitionNotFound("2026-01-28"), "PARTITION_NOT_FOUND", {"partition": "2026-01-28"}),
    (errors.PartitionEmpty("2026-01-28"), "PARTITION_EMPTY", {"partition": "2026-01-28"}),
    (errors.PartitionNotSealed("2026-01-28"), "PARTITION_NOT_SEALED", {"partition": "2026-01-28"}),
    (errors.PartitionDayNotOver("2026-01-28"), "PARTITION_DAY_NOT_OVER", {"partition": "2026-01-28"}),
    (
        errors.PartitionDamaged("2026-01-28", "signals-001.wal", 77, "gone"),
        "LEDGER_CORRUPT",
        {"partition": "2026-01-28", "file": "signals-001.wal", "byte_offset": "77"},
    ),
    (
        errors.TooManyOpenPartitions(64, 64),
        "TOO_MANY_OPEN_PARTITIONS",
        {"open_partitions": "64", "open_partitions_max": "64"},
    ),
    (errors.EmittedAhead(NOW, NOW, 300.0), "INVALID_FIELDS", {"field": "emitted_at"}),
    (errors.NaiveTime(NOW.replace(tzinfo=None)), "INVALID_FIELDS", {"field": "emitted_at"}),
    (errors.RecordTooLarge(9, 8), "SIGNAL_TOO_LARGE", {"size_bytes": "9", "size_bytes_max": "8"}),
    (errors.RecordNotFound("signal OMEN-AAAA"), "SIGNAL_NOT_FOUND", {}),
    (desk_errors.DeskFull(Path("/d.db"), 7), "STORAGE_EXHAUSTED", {"path": "/d.db", "free_bytes": "7"}),
    (desk_errors.DeadLettersFull(Path("/d.db"), 9, 7), "STORAGE_EXHAUSTED", {"path": "/d.db", "free_bytes": "7"}),
    (desk_errors.DeskUnavailable("locked"), "STORE_UNAVAILABLE", {"engine": "sqlite", "retry_after_s": "1.0"}),
    (IndexUnavailable("restarting"), "STORE_UNAVAILABLE", {"engine": "index", "retry_after_s": "1.0"}),
    (desk_errors.DeadLetterNotFound("DL-01"), "DEAD_LETTER_NOT_FOUND", {"dead_letter_id": "DL-01"}),
]


def test_every_error_has_a_row() -> None:
    """
    There is no error class of ledger, desk and index that a call may meet and its caller would see as INTERNAL.
    """
    assert REFUSALS.keys() == (EVERY - AT_START) | OF_THE_DESK | {IndexUnavailable}
    assert {type(error) for error, _, _ in ROWS} == REFUSALS.keys()


@pytest.mark.parametrize(("error", "reason", "metadata"), ROWS, ids=lambda value: type(value).__name__)
def test_what_a_caller_is_told(error: Exception, reason: str, metadata: dict[str, str]) -> None:
    """
    Each error becomes its reason with the data it carries, and says what happened in its own words.
    """
    told = explain("/omen.v1.LedgerService/SealPartition", error, REFUSALS)
    assert isinstance(told, CallError)
    assert (told.reason, told.metadata) == (reason, metadata)
    assert str(error).rstrip(".") in told.message or reason == "DRAINING"
    rule = told.rule
    assert rule is not None
    assert (told.retry_after_s is not None) == rule.retryable
