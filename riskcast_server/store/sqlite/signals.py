"""
SQLite's `SignalStore`.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from omen.v1.signal_pb2 import SignalEvent
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_UNSPECIFIED, IngestOrigin
from riskcast.v1.inventory_service_pb2 import Conflict, GetIngestStatsResponse, ProcessedSignal
from riskcast_server.store import ORIGIN_NAMES, Arrival, Page, Receipt
from riskcast_server.store.sqlite.group import ORIGINS, SELECT_KEPT, Kept, receipt, timestamp
from riskcast_server.store.sqlite.readers import Read, Readers
from riskcast_server.store.sqlite.writer import Writer

_GET: Final = """
SELECT signal_id, trace_id, ack_id, processed_at, partition_date, ledger_partition, origin, request_id, content_digest,
       signal_data, rowid
FROM signals WHERE signal_id = ?"""
# The inner query takes as many as are wanted, the outer one those that come before there are too many bytes.
_PAGE: Final = """
SELECT signal_id, trace_id, ack_id, processed_at, partition_date, ledger_partition, origin, request_id, content_digest,
       signal_data, rowid
FROM signals WHERE rowid IN (
    SELECT place FROM (
        SELECT place, sum(size) OVER (ORDER BY place) - size AS size_before FROM (
            SELECT rowid AS place, length(signal_data) AS size FROM signals
            WHERE rowid > ? /* filters */ ORDER BY rowid LIMIT ?
        )
    ) WHERE size_before < ?
) ORDER BY rowid"""
_CONFLICTS: Final = """
SELECT conflict, kind, signal_id, at, origin, request_id, stored_digest, offered_digest, ledger_partition, ledger_index,
       holder_signal_id
FROM conflicts WHERE conflict < ? ORDER BY conflict DESC LIMIT ?"""
_COUNTS: Final = """
SELECT (SELECT store_epoch FROM store_meta),
       (SELECT count(*) FROM signals WHERE positioned = 0),
       (SELECT count(*) FROM conflicts)"""
_BY_ORIGIN: Final = "SELECT origin, count(*) FROM signals GROUP BY origin"
_CURSOR_MAX: Final = 2**63 - 1


class SqliteSignals:
    """
    Puts through the writer, reads through the readers.
    """

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def put(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        See `SignalStore`.
        """
        return await self._writer.put(arrivals)

    async def get(self, signal_id: str) -> ProcessedSignal | None:
        """
        See `SignalStore`.
        """
        rows = await self._readers.snapshot(lambda read: read(_GET, (signal_id,)))
        return _signal(rows[0]) if rows else None

    async def lookup(self, signal_ids: Sequence[str]) -> list[Receipt]:
        """
        See `SignalStore`.
        """
        rows = await self._readers.snapshot(lambda read: read(SELECT_KEPT, (json.dumps(list(signal_ids)),)))
        kept = {row[0]: Kept(*row[1:]) for row in rows}
        return [receipt(signal_id, kept[signal_id]) for signal_id in dict.fromkeys(signal_ids) if signal_id in kept]

    async def list_signals(
        self,
        *,
        partition: str = "",
        origin: IngestOrigin.ValueType = INGEST_ORIGIN_UNSPECIFIED,
        after: int = 0,
        limit: int = 100,
        bytes_max: int = 512 * 1024,
    ) -> Page[ProcessedSignal]:
        """
        See `SignalStore`.
        """
        # Only filters that are asked for stand in the query: an OR would keep it from their indexes.
        filters = {"AND ledger_partition = ?": partition, "AND origin = ?": ORIGIN_NAMES.get(origin, "")}
        values = [value for value in filters.values() if value]
        sql = _PAGE.replace("/* filters */", " ".join(term for term, value in filters.items() if value))
        rows = await self._readers.snapshot(lambda read: read(sql, (after, *values, limit, bytes_max)))
        whole = len(rows) < limit and sum(len(row[9]) for row in rows) < bytes_max
        return Page([_signal(row) for row in rows], 0 if whole or not rows else rows[-1][10])

    async def list_conflicts(self, *, before: int = 0, limit: int = 100) -> Page[Conflict]:
        """
        See `SignalStore`.
        """
        rows = await self._readers.snapshot(lambda read: read(_CONFLICTS, (before or _CURSOR_MAX, limit)))
        return Page([_conflict(row) for row in rows], rows[-1][0] if len(rows) == limit else 0)

    async def stats(self) -> GetIngestStatsResponse:
        """
        See `SignalStore`.
        """
        return await self._readers.snapshot(_stats)


async def _stats(read: Read) -> GetIngestStatsResponse:
    ((epoch, unpositioned, conflicts),) = await read(_COUNTS, ())
    by_origin = dict.fromkeys(ORIGINS, 0) | dict(await read(_BY_ORIGIN, ()))
    return GetIngestStatsResponse(
        stored=sum(by_origin.values()),
        stored_by_origin=by_origin,
        unpositioned=unpositioned,
        conflicts_on_record=conflicts,
        store_epoch=epoch,
    )


def _signal(row: Any) -> ProcessedSignal:
    signal_id, trace_id, ack_id, processed_at, partition_date, partition, origin, request_id, digest, data = row[:10]
    event = SignalEvent.FromString(data)
    return ProcessedSignal(
        signal_id=signal_id,
        trace_id=trace_id,
        ack_id=ack_id,
        processed_at=timestamp(processed_at),
        emitted_at=event.emitted_at,
        partition_date=partition_date,
        ledger_partition=partition,
        ledger_sequence=event.ledger_sequence if partition else 0,
        origin=ORIGINS[origin],
        event=event,
        request_id=request_id,
        ledger_index=event.ledger_index if partition else 0,
        content_digest=digest,
    )


def _conflict(row: Any) -> Conflict:
    _, kind, signal_id, at, origin, request_id, stored, offered, partition, index, holder = row
    return Conflict(
        signal_id=signal_id,
        at=timestamp(at),
        origin=ORIGINS[origin],
        stored_digest=stored,
        offered_digest=offered,
        ledger_partition=partition,
        ledger_index=index,
        kind=kind,
        request_id=request_id,
        holder_signal_id=holder,
    )
