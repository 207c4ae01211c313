import errno
import inspect
from datetime import UTC, datetime

import pytest

from omen_rpc.errors import CallError
from omen_rpc.refusal import explain
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
]


def test_every_error_of_the_ledger_has_a_row() -> None:
    """
    There is no error class of the ledger that a caller would see as INTERNAL.
    """
    assert REFUSALS.keys() == EVERY - AT_START
    assert {type(error) for error, _, _ in ROWS} == REFUSALS.keys()


@pytest.mark.parametrize(("error", "reason", "metadata"), ROWS, ids=lambda value: type(value).__name__)
def test_what_a_caller_is_told(error: errors.LedgerError, reason: str, metadata: dict[str, str]) -> None:
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
