"""
How much a store takes on at once, how long it waits, and where its time and its acks come from.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
NewAck: TypeAlias = Callable[[], str]


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """
    Limits of both engines, then those of SQLite, then those of PostgreSQL.

    Puts share a transaction up to `group_signals_max`; one that has more by itself gets one of its own.
    """

    group_signals_max: int = 256
    waiting_signals_max: int = 8192
    waiting_bytes_max: int = 64 * 1024 * 1024
    attempts_max: int = 5

    readers_max: int = 4
    busy_timeout_ms: int = 10_000

    connections_max: int = 2 * (os.cpu_count() or 1)
    connect_timeout_s: float = 10.0
    statement_timeout_s: float = 30.0
    lock_timeout_s: float = 10.0
    idle_in_transaction_timeout_s: float = 30.0
    # 0 behind a PgBouncer that pools transactions: a statement prepared on one connection is unknown to the next.
    statement_cache_size: int = 100


def utc_now() -> datetime:
    """
    Return the time it is.
    """
    return datetime.now(UTC)


def new_ack() -> str:
    """
    Return an ack that nobody was given before: its column is unique, and a draw that was had is drawn again.
    """
    return f"riskcast-ack-{secrets.token_hex(8)}"
