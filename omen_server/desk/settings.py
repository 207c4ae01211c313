from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """
    How much the desk keeps, and how long what nobody waits for may stay in memory.
    """

    dead_letters_max: int = 100_000
    rejected_max: int = 10_000
    rejected_bytes_max: int = 64 << 20
    series_max: int = 100_000
    peers_max: int = 5_000
    peers_batch_max: int = 200
    flush_interval_s: float = 0.5
    waiting_max: int = 4_096
    busy_timeout_ms: int = 10_000
