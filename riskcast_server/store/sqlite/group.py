"""
What one transaction does with the arrivals that share it.

`INSERT … DO NOTHING` says how many rows it made. That is nearly always all of them, and nothing is read back; else the
originals are, inside the same transaction.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import aiosqlite
from google.protobuf.timestamp_pb2 import Timestamp

from omen_rpc.signal_codec import position_hash, to_int64
from riskcast_server.store import ORIGIN_NAMES, Arrival, Receipt

ORIGINS: Final = {name: origin for origin, name in ORIGIN_NAMES.items()}

_INSERT_SIGNAL: Final = """
INSERT INTO signals (signal_id, trace_id, ack_id, processed_at, emitted_at, partition_date, ledger_partition,
                     ledger_index, origin, request_id, content_digest, signal_data, positioned)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (signal_id) DO NOTHING"""
SELECT_KEPT: Final = """
SELECT signal_id, ack_id, processed_at, origin, request_id, content_digest, positioned, ledger_partition, ledger_index
FROM signals
WHERE signal_id IN (SELECT value FROM json_each(?))"""
_INSERT_POSITION: Final = """
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
    The arrivals of one transaction, in order. Each takes the ack of the same place in *acks* if it is the first.
    """

    def __init__(self, arrivals: Sequence[Arrival], acks: Sequence[str], at_us: int) -> None:
        self._arrivals = arrivals
        self._at_us = at_us
        self._first: dict[str, tuple[Arrival, str]] = {}
        self._claiming: set[str] = set()
        for arrival, ack in zip(arrivals, acks, strict=True):
            self._first.setdefault(arrival.event.signal_id, (arrival, ack))
            if arrival.position is not None:
                self._claiming.add(arrival.event.signal_id)

    async def store(self, connection: aiosqlite.Connection) -> list[Receipt]:
        """
        Store the group in the transaction that *connection* has open, and return the receipts to give once it commits.
        """
        kept = await self._store_signals(connection)
        receipts = self._receipts(kept)
        conflicts = [
            _conflict(self._at_us, "content", arrival, receipt.content_digest, "")
            for arrival, receipt in zip(self._arrivals, receipts, strict=True)
            if receipt.content_conflict
        ]
        conflicts += await self._store_positions(connection, kept)
        if conflicts:
            await connection.executemany(_INSERT_CONFLICT, conflicts)
        return receipts

    async def _store_signals(self, connection: aiosqlite.Connection) -> dict[str, Kept]:
        rows = [self._row(arrival, ack) for arrival, ack in self._first.values()]
        cursor = await connection.executemany(_INSERT_SIGNAL, rows)
        if cursor.rowcount == len(rows):
            return {row[0]: Kept(row[2], row[3], row[8], row[9], row[10], row[12], row[6], row[7]) for row in rows}
        found = await connection.execute_fetchall(SELECT_KEPT, (json.dumps(list(self._first)),))
        return {row[0]: Kept(*row[1:]) for row in found}

    def _row(self, arrival: Arrival, ack: str) -> tuple[Any, ...]:
        event = arrival.event
        return (
            event.signal_id,
            event.deterministic_trace_id,
            ack,
            self._at_us,
            event.emitted_at.seconds * 1_000_000 + event.emitted_at.nanos // 1000,
            arrival.partition_date,
            *(arrival.position or ("", 0)),
            ORIGIN_NAMES[arrival.origin],
            arrival.request_id,
            arrival.content_digest,
            event.SerializeToString(),
            event.signal_id in self._claiming,
        )

    def _receipts(self, kept: dict[str, Kept]) -> list[Receipt]:
        receipts = []
        for arrival in self._arrivals:
            signal_id = arrival.event.signal_id
            first, ack = self._first[signal_id]
            row = kept[signal_id]
            duplicate = arrival is not first or row.ack_id != ack
            conflict = duplicate and arrival.content_digest != row.content_digest
            receipts.append(receipt(signal_id, row, duplicate=duplicate, content_conflict=conflict))
        return receipts

    async def _store_positions(
        self, connection: aiosqlite.Connection, kept: dict[str, Kept]
    ) -> list[tuple[object, ...]]:
        """
        Record what positions are claimed; return a conflict for each that another signal holds.
        """
        claims = [(arrival.position, arrival) for arrival in self._arrivals if arrival.position is not None]
        if not claims:
            return []
        holders: dict[tuple[str, int], str] = {}
        for position, arrival in claims:
            holders.setdefault(position, arrival.event.signal_id)
        rows = [_position_row(position, holder, kept[holder]) for position, holder in holders.items()]
        cursor = await connection.executemany(_INSERT_POSITION, rows)
        if cursor.rowcount != len(rows):
            held = await connection.execute_fetchall(_SELECT_HOLDERS, (json.dumps(list(holders)),))
            holders = {(row[0], row[1]): row[2] for row in held}
        await self._correct_positioned(connection, kept, set(holders.values()))
        return [
            _conflict(self._at_us, "position", arrival, kept[arrival.event.signal_id].content_digest, holders[position])
            for position, arrival in claims
            if holders[position] != arrival.event.signal_id
        ]

    async def _correct_positioned(
        self, connection: aiosqlite.Connection, kept: dict[str, Kept], holding: set[str]
    ) -> None:
        """
        A new row said that it would hold what it claims; a duplicate may hold its first position only now.
        """
        wrong = [
            (signal_id in holding, signal_id)
            for signal_id in self._claiming
            if kept[signal_id].positioned != (signal_id in holding)
            and (signal_id in holding or kept[signal_id].ack_id == self._first[signal_id][1])
        ]
        if wrong:
            await connection.executemany(_SET_POSITIONED, wrong)


def receipt(signal_id: str, row: Kept, *, duplicate: bool, content_conflict: bool = False) -> Receipt:
    """
    Make the receipt of a row.
    """
    return Receipt(
        signal_id=signal_id,
        ack_id=row.ack_id,
        processed_at=timestamp(row.processed_at_us),
        origin=ORIGINS[row.origin],
        request_id=row.request_id,
        content_digest=row.content_digest,
        duplicate=duplicate,
        content_conflict=content_conflict,
    )


def timestamp(us: int) -> Timestamp:
    """
    Return the time that a column of microseconds says.
    """
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def _position_row(position: tuple[str, int], signal_id: str, row: Kept) -> tuple[str, int, str, int, int, bool]:
    partition, index = position
    high, low = position_hash(partition, index, signal_id, row.content_digest)
    return partition, index, signal_id, to_int64(high), to_int64(low), position != row[-2:]


def _conflict(at_us: int, kind: str, arrival: Arrival, stored_digest: str, holder: str) -> tuple[object, ...]:
    partition, index = arrival.position or ("", 0)
    return (
        kind,
        arrival.event.signal_id,
        at_us,
        ORIGIN_NAMES[arrival.origin],
        arrival.request_id,
        stored_digest,
        arrival.content_digest,
        partition,
        index,
        holder,
    )
