"""
What one transaction does with the arrivals that share it.

`INSERT … DO NOTHING` says how many rows it made. That is nearly always all of them, and nothing is read back; else what
is kept is, inside the same transaction.
"""

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from omen_rpc.signal_codec import position_hash, to_int64
from riskcast_server.store import ORIGIN_NAMES, Arrival, Receipt

ORIGINS: Final = {name: origin for origin, name in ORIGIN_NAMES.items()}
# How many rows a statement may insert. Between two statements the thread waits for its turn with the loop.
STATEMENT_ROWS: Final = (64, 16, 4, 1)

_INSERT_SIGNALS: Final = """
INSERT INTO signals (signal_id, trace_id, emitted_at, partition_date, ledger_partition, ledger_index, origin,
                     request_id, content_digest, signal_data, ack_id, processed_at, positioned)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (signal_id) DO NOTHING"""
SELECT_KEPT: Final = """
SELECT signal_id, ack_id, processed_at, origin, request_id, content_digest, positioned, ledger_partition, ledger_index
FROM signals
WHERE signal_id IN (SELECT value FROM json_each(?))"""
_INSERT_POSITIONS: Final = """
INSERT INTO positions (ledger_partition, ledger_index, signal_id, h1, h2, extra)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (ledger_partition, ledger_index) DO NOTHING"""
_SELECT_HOLDERS: Final = """
SELECT ledger_partition, ledger_index, signal_id FROM json_each(?) AS claim CROSS JOIN positions
WHERE ledger_partition = json_extract(claim.value, '$[0]') AND ledger_index = json_extract(claim.value, '$[1]')"""
_SET_POSITIONED: Final = "UPDATE signals SET positioned = ? WHERE signal_id = ?"
_INSERT_CONFLICT: Final = """
INSERT INTO conflicts (kind, signal_id, at, origin, request_id, stored_digest, offered_digest, ledger_partition,
                       ledger_index, holder_signal_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""


class Kept(NamedTuple):
    """
    What the table says of a signal, whether this transaction put it there or an earlier one.
    """

    ack_id: str
    processed_at_us: int
    origin: str
    request_id: str
    content_digest: str
    positioned: bool
    ledger_partition: str
    ledger_index: int


class Group:
    """
    The arrivals of one transaction, in order, and their rows. Each takes the ack of the same place in *acks* if it is
    the first.

    Made and asked for its receipts on the loop, stored in the thread; never two of them at once.
    """

    def __init__(self, rows: Sequence[Arrival], acks: Sequence[str], at_us: int) -> None:
        self._rows = rows
        self._acks = acks
        self._at_us = at_us
        self._first_acks: dict[str, str] = {}
        self._kept: dict[str, Kept] = {}  # Nothing when all of them were new, and nobody held their positions.

    def store(self, connection: sqlite3.Connection) -> None:
        """
        Store the group in the transaction that *connection* has open.
        """
        if self._all_are_new(connection):
            return
        for row, ack in zip(self._rows, self._acks, strict=True):
            self._first_acks.setdefault(row.signal_id, ack)
        found = connection.execute(SELECT_KEPT, (json.dumps(list(self._first_acks)),)).fetchall()
        self._kept = {row[0]: Kept(*row[1:]) for row in found}
        conflicts = [
            _conflict(self._at_us, "content", row, self._kept[row.signal_id].content_digest, "")
            for row in self._rows
            if row.content_digest != self._kept[row.signal_id].content_digest
        ]
        conflicts += self._store_positions(connection)
        if conflicts:
            connection.executemany(_INSERT_CONFLICT, conflicts)

    def receipts(self) -> list[Receipt]:
        """
        Return the receipts to give now that the transaction is committed.
        """
        now = timestamp(self._at_us)  # One for all who were stored just now: nobody changes a receipt.
        if not self._kept:
            return [
                Receipt(row.signal_id, ack, now, row.origin, row.request_id, row.content_digest, duplicate=False)
                for row, ack in zip(self._rows, self._acks, strict=True)
            ]
        receipts = []
        told: set[str] = set()
        for row in self._rows:
            kept = self._kept[row.signal_id]
            duplicate = row.signal_id in told or kept.ack_id != self._first_acks[row.signal_id]
            told.add(row.signal_id)
            conflict = duplicate and row.content_digest != kept.content_digest
            at = now if kept.processed_at_us == self._at_us else timestamp(kept.processed_at_us)
            receipts.append(_receipt(row.signal_id, kept, at, duplicate=duplicate, content_conflict=conflict))
        return receipts

    def _all_are_new(self, connection: sqlite3.Connection) -> bool:
        """
        Insert what is new, and tell whether that was everything.
        """
        signals = [
            (*row[:6], ORIGIN_NAMES[row.origin], *row[7:], ack, self._at_us, row.ledger_index > 0)
            for row, ack in zip(self._rows, self._acks, strict=True)
        ]
        if _insert(connection, _INSERT_SIGNALS, signals) != len(signals):
            return False
        positions = [
            _position_row(row.ledger_partition, row.ledger_index, row.signal_id, row.content_digest, extra=False)
            for row in self._rows
            if row.ledger_index
        ]
        return _insert(connection, _INSERT_POSITIONS, positions) == len(positions)

    def _store_positions(self, connection: sqlite3.Connection) -> list[tuple[object, ...]]:
        """
        Record what positions are claimed; return a conflict for each that another signal holds.
        """
        claims = [((row.ledger_partition, row.ledger_index), row) for row in self._rows if row.ledger_index]
        if not claims:
            return []
        holders: dict[tuple[str, int], str] = {}
        for position, row in claims:
            holders.setdefault(position, row.signal_id)
        rows = [
            _position_row(
                *position, holder, self._kept[holder].content_digest, extra=position != self._kept[holder][-2:]
            )
            for position, holder in holders.items()
        ]
        if _insert(connection, _INSERT_POSITIONS, rows) != len(rows):
            held = connection.execute(_SELECT_HOLDERS, (json.dumps(list(holders)),)).fetchall()
            holders = {(row[0], row[1]): row[2] for row in held}
        self._correct_positioned(connection, set(holders.values()))
        return [
            _conflict(self._at_us, "position", row, self._kept[row.signal_id].content_digest, holders[position])
            for position, row in claims
            if holders[position] != row.signal_id
        ]

    def _correct_positioned(self, connection: sqlite3.Connection, holding: set[str]) -> None:
        """
        A new row said that it would hold what it claims; a duplicate may hold its first position only now.
        """
        kept = self._kept
        wrong = [
            (signal_id in holding, signal_id)
            for signal_id in {row.signal_id for row in self._rows if row.ledger_index}
            if kept[signal_id].positioned != (signal_id in holding)
            and (signal_id in holding or kept[signal_id].ack_id == self._first_acks[signal_id])
        ]
        if wrong:
            connection.executemany(_SET_POSITIONED, wrong)


def receipt(signal_id: str, row: Kept) -> Receipt:
    """
    Make the receipt of a row that was there before.
    """
    return _receipt(signal_id, row, timestamp(row.processed_at_us), duplicate=True, content_conflict=False)


def timestamp(us: int) -> Timestamp:
    """
    Return the time that a column of microseconds says.
    """
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def _receipt(signal_id: str, row: Kept, at: Timestamp, *, duplicate: bool, content_conflict: bool) -> Receipt:
    return Receipt(
        signal_id=signal_id,
        ack_id=row.ack_id,
        processed_at=at,
        origin=ORIGINS[row.origin],
        request_id=row.request_id,
        content_digest=row.content_digest,
        duplicate=duplicate,
        content_conflict=content_conflict,
    )


def _insert(connection: sqlite3.Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """
    Insert *rows*, many with each statement, and return how many were made. *sql* says it for one.
    """
    made = at = 0
    for size in STATEMENT_ROWS:
        while len(rows) - at >= size:
            made += connection.execute(_for_many(sql, size), [*chain.from_iterable(rows[at : at + size])]).rowcount
            at += size
    return made


@lru_cache(maxsize=64)
def _for_many(sql: str, size: int) -> str:
    values = sql[sql.index("(?") : sql.index("?)") + 2]
    return sql.replace(values, ", ".join([values] * size))


def _position_row(
    partition: str, index: int, signal_id: str, content_digest: str, *, extra: bool
) -> tuple[str, int, str, int, int, bool]:
    high, low = position_hash(partition, index, signal_id, content_digest)
    return partition, index, signal_id, to_int64(high), to_int64(low), extra


def _conflict(at_us: int, kind: str, row: Arrival, stored_digest: str, holder: str) -> tuple[object, ...]:
    return (
        kind,
        row.signal_id,
        at_us,
        ORIGIN_NAMES[row.origin],
        row.request_id,
        stored_digest,
        row.content_digest,
        row.ledger_partition,
        row.ledger_index,
        holder,
    )
