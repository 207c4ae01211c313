"""
What one transaction does with the arrivals that share it, one statement for each table.

Every statement goes through its rows in the order of their keys, and every transaction through the tables in the same
order: two that meet wait for one another at most in one direction.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from omen_rpc.signal_codec import position_hash, to_int64
from omen_storage.postgres.connection import Connection
from riskcast_server.store import ORIGIN_NAMES, Arrival, Receipt
from riskcast_server.store.errors import StoreUnavailable

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ORIGINS: Final = {name: origin for origin, name in ORIGIN_NAMES.items()}

_INSERT_SIGNALS: Final = """
INSERT INTO signals (signal_id, trace_id, ack_id, emitted_at, partition_date, ledger_partition, ledger_index,
                     origin, request_id, content_digest, signal_data, positioned, processed_at)
SELECT *, $13::timestamptz FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[],
                                       $7::bigint[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::boolean[])
ON CONFLICT (signal_id) DO NOTHING RETURNING signal_id"""
_SELECT_KEPT: Final = """
SELECT signal_id, ack_id, processed_at, origin, request_id, content_digest, positioned, ledger_partition, ledger_index
FROM signals WHERE signal_id = ANY ($1::text[])"""
_INSERT_POSITIONS: Final = """
INSERT INTO positions (ledger_partition, ledger_index, signal_id, h1, h2, extra)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::boolean[])
ON CONFLICT (ledger_partition, ledger_index) DO NOTHING RETURNING ledger_partition, ledger_index"""
_SELECT_HOLDERS: Final = """
SELECT ledger_partition, ledger_index, signal_id FROM positions
JOIN unnest($1::text[], $2::bigint[]) AS claim (ledger_partition, ledger_index)
USING (ledger_partition, ledger_index)"""
# The rows are locked in order first: UPDATE promises no order.
_SET_POSITIONED: Final = """
WITH locked AS MATERIALIZED (
    SELECT signal_id FROM signals WHERE signal_id = ANY ($1::text[]) ORDER BY signal_id FOR UPDATE
)
UPDATE signals SET positioned = $2 FROM locked WHERE signals.signal_id = locked.signal_id"""
_INSERT_CONFLICTS: Final = """
INSERT INTO conflicts (kind, signal_id, at, origin, request_id, stored_digest, offered_digest, ledger_partition,
                       ledger_index, holder_signal_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::bigint[], $10::text[])
ON CONFLICT DO NOTHING"""


class Kept(NamedTuple):
    """
    What the table says of a signal.
    """

    ack_id: str
    processed_at: datetime
    origin: str
    request_id: str
    content_digest: str
    positioned: bool
    ledger_partition: str
    ledger_index: int

    def receipt(self, signal_id: str, *, duplicate: bool, offered_digest: str | None = None) -> Receipt:
        """
        Make the receipt of this row; a duplicate conflicts if it offers another digest.
        """
        return Receipt(
            signal_id=signal_id,
            ack_id=self.ack_id,
            processed_at=timestamp(self.processed_at),
            origin=ORIGINS[self.origin],
            request_id=self.request_id,
            content_digest=self.content_digest,
            duplicate=duplicate,
            content_conflict=duplicate and offered_digest not in (None, self.content_digest),
        )


async def store_group(
    connection: Connection, arrivals: Sequence[Arrival], acks: Sequence[str], at: datetime
) -> list[Receipt]:
    """
    Store *arrivals* in the transaction that *connection* has open, and return the receipts to give once it commits.
    """
    drawn = {arrival.signal_id: ack for arrival, ack in zip(reversed(arrivals), reversed(acks), strict=True)}
    firsts = {arrival.signal_id: arrival for arrival in reversed(arrivals)}
    fresh, kept = await _store_signals(connection, arrivals, firsts, drawn, at)
    receipts: list[Receipt] = []
    told: set[str] = set()
    for arrival in arrivals:
        signal_id = arrival.signal_id
        duplicate = signal_id not in fresh or signal_id in told
        told.add(signal_id)
        offered = arrival.content_digest
        receipts.append(kept[signal_id].receipt(signal_id, duplicate=duplicate, offered_digest=offered))
    holders = await _store_positions(connection, arrivals, kept)
    await _correct_positioned(connection, arrivals, fresh, kept, set(holders.values()))
    await _store_conflicts(connection, arrivals, receipts, holders, at)
    return receipts


async def _store_signals(
    connection: Connection,
    arrivals: Sequence[Arrival],
    firsts: dict[str, Arrival],
    drawn: dict[str, str],
    at: datetime,
) -> tuple[set[str], dict[str, Kept]]:
    """
    Insert each signal once; return which were new, and what the table holds of all.
    """
    claiming = {arrival.signal_id for arrival in arrivals if arrival.position is not None}
    rows = [_row(firsts[signal_id], drawn[signal_id], signal_id in claiming) for signal_id in sorted(firsts)]
    new = {row["signal_id"] for row in await connection.fetch(_INSERT_SIGNALS, *_columns(rows), at)}
    kept = {row[0]: Kept(row[2], at, row[7], row[8], row[9], row[11], row[5], row[6]) for row in rows if row[0] in new}
    known = [signal_id for signal_id in firsts if signal_id not in new]
    if known:
        kept |= {row[0]: Kept(*tuple(row)[1:]) for row in await connection.fetch(_SELECT_KEPT, known)}
    if len(kept) != len(firsts):
        raise StoreUnavailable("a signal was deleted while it came again")
    return new, kept


async def _store_positions(
    connection: Connection, arrivals: Sequence[Arrival], kept: dict[str, Kept]
) -> dict[tuple[str, int], str]:
    """
    Record what positions are claimed; return who holds each.
    """
    holders: dict[tuple[str, int], str] = {}
    for arrival in arrivals:
        if arrival.position is not None:
            holders.setdefault(arrival.position, arrival.signal_id)
    if not holders:
        return {}
    rows = [_position_row(position, holder, kept[holder]) for position, holder in sorted(holders.items())]
    new = {tuple(row) for row in await connection.fetch(_INSERT_POSITIONS, *_columns(rows))}
    taken = [position for position in holders if position not in new]
    if taken:
        found = await connection.fetch(_SELECT_HOLDERS, *_columns(taken))
        if len(found) != len(taken):
            raise StoreUnavailable("a position was deleted while it was claimed again")
        holders |= {(row[0], row[1]): row[2] for row in found}
    return holders


async def _correct_positioned(
    connection: Connection, arrivals: Sequence[Arrival], fresh: set[str], kept: dict[str, Kept], holding: set[str]
) -> None:
    """
    A new row said that it would hold what it claims; a duplicate may hold its first position only now.
    """
    claiming = {arrival.signal_id for arrival in arrivals if arrival.position is not None}
    for wrong, positioned in (
        (claiming & fresh - holding, False),
        ({signal_id for signal_id in claiming & holding if not kept[signal_id].positioned}, True),
    ):
        if wrong:
            await connection.execute(_SET_POSITIONED, sorted(wrong), positioned)


async def _store_conflicts(
    connection: Connection,
    arrivals: Sequence[Arrival],
    receipts: Sequence[Receipt],
    holders: dict[tuple[str, int], str],
    at: datetime,
) -> None:
    rows = []
    for arrival, receipt in zip(arrivals, receipts, strict=True):
        position = arrival.position
        holder = holders[position] if position else receipt.signal_id
        kinds = [("content", "")] if receipt.content_conflict else []
        kinds += [("position", holder)] if holder != receipt.signal_id else []
        rows += [
            (
                kind,
                receipt.signal_id,
                at,
                ORIGIN_NAMES[arrival.origin],
                arrival.request_id,
                receipt.content_digest,
                arrival.content_digest,
                arrival.ledger_partition,
                arrival.ledger_index,
                other,
            )
            for kind, other in kinds
        ]
    if rows:
        # In the order of the unique key's columns, for the same reason as everywhere here.
        rows.sort(key=lambda row: (row[1], row[0], row[6], row[7], row[8]))
        await connection.execute(_INSERT_CONFLICTS, *_columns(rows))


def timestamp(at: datetime) -> Timestamp:
    """
    Return *at* as it stands on the wire.
    """
    us = (at - EPOCH) // timedelta(microseconds=1)
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def _row(arrival: Arrival, ack: str, positioned: bool) -> tuple[Any, ...]:
    return (
        arrival.signal_id,
        arrival.trace_id,
        ack,
        EPOCH + timedelta(microseconds=arrival.emitted_at_us),
        arrival.partition_date,
        arrival.ledger_partition,
        arrival.ledger_index,
        ORIGIN_NAMES[arrival.origin],
        arrival.request_id,
        arrival.content_digest,
        arrival.signal_data,
        positioned,
    )


def _position_row(position: tuple[str, int], signal_id: str, row: Kept) -> tuple[str, int, str, int, int, bool]:
    partition, index = position
    high, low = position_hash(partition, index, signal_id, row.content_digest)
    return partition, index, signal_id, to_int64(high), to_int64(low), position != row[-2:]


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
