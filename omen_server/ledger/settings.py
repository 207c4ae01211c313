"""
The ledger's limits, all of them parameters. Who reads them from where is `omen_server/settings.py`'s business.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """
    Limits of one ledger. The defaults are the ones the documentation quotes.
    """

    # A segment is read and rewritten in one piece, so its size bounds memory and the time of a recovery.
    segment_bytes_max: int = 10_000_000
    segment_records_max: int = 10_000
    # One sync covers at most this much, so a crash can tear at most this much.
    batch_records_max: int = 1024
    batch_bytes_max: int = 1 << 20
    # Records that wait for the writer; producers beyond wait for room.
    queue_records_max: int = 16_384
    open_partitions_max: int = 64
    emitted_ahead_max_s: float = 300.0
    seal_grace_hours: float = 4.0
    late_seal_grace_days: float = 3.0
    # Freed when the disk is full, so that sealing, metadata and the rewrite of a tail can finish.
    ballast_bytes: int = 16 << 20
    # Appending goes on when this much is free again.
    resume_free_bytes: int = 64 << 20
    # Positions skipped when damage reaches the end of what was written.
    skip_records: int = 1024
    read_batch_records_max: int = 500
    read_batch_bytes_max: int = 1 << 20
    # Ages count from the seal.
    hot_days: float = 7.0
    warm_days: float = 30.0
    retention_days: float = 2557.0
