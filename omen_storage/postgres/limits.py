from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How many connections there are, and how long each step may take.
    """

    connections_max: int = 4
    connect_timeout_s: float = 5.0
    statement_timeout_s: float = 10.0
    lock_timeout_s: float = 10.0
    idle_in_transaction_timeout_s: float = 10.0
    # 0 behind a PgBouncer that pools transactions: a statement prepared on one connection is unknown to the next.
    statement_cache_size: int = 100
