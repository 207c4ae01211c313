"""
PostgreSQL's `SignalStore`.
"""

from collections.abc import Sequence
from typing import Any, Final

from omen.v1.signal_pb2 import SignalEvent
from omen_storage.postgres.connection import READ, Database, one
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_UNSPECIFIED, IngestOrigin
from riskcast.v1.inventory_service_pb2 import Conflict, GetIngestStatsResponse, ProcessedSignal
from riskcast_server.store import ORIGIN_NAMES, Arrival, Page, Receipt
from riskcast_server.store.postgres.group import ORIGINS, Kept, timestamp
from riskcast_server.store.postgres.writer import Writers

_GET: Final = "SELECT * FROM signals WHERE signal_id = $1"
_LOOKUP: Final = """
SELECT signal_id, ack_id, processed_at, origin, request_id, content_digest, positioned, ledger_partition, ledger_index
FROM signals JOIN unnest($1::text[]) WITH ORDINALITY AS asked (signal_id, nth) USING (signal_id) ORDER BY nth"""
# The inner query takes as many as are wanted, the outer one those that come before there are too many bytes.
_PAGE: Final = """
SELECT signals.* FROM signals JOIN (
    SELECT place, sum(size) OVER (ORDER BY place) - size AS size_before FROM (
        SELECT place, octet_length(signal_data) AS size FROM signals
        WHERE place > $1 /* filters */ ORDER BY place LIMIT $2
    ) AS wanted
) AS sized USING (place) WHERE size_before < $3 ORDER BY place"""
_CONFLICTS: Final = "SELECT * FROM conflicts WHERE conflict < $1 ORDER BY conflict DESC LIMIT $2"
_COUNTS: Final = """
SELECT store_epoch, (SELECT count(*) FROM signals WHERE NOT positioned) AS unpositioned,
       (SELECT count(*) FROM conflicts) AS conflicts
FROM store_meta"""
_BY_ORIGIN: Final = "SELECT origin, count(*) FROM signals GROUP BY origin"
_CURSOR_MAX: Final = 2**63 - 1


class PostgresSignals:
    """
    Puts through the writers, reads from the pool.
    """

    def __init__(self, database: Database, writers: Writers) -> None:
        self._database = database
        self._writers = writers

    async def put(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        See `SignalStore`.
        """
        return await self._writers.put(arrivals)

    async def get(self, signal_id: str) -> ProcessedSignal | None:
        """
        See `SignalStore`.
        """
        rows = await self._database.rows(_GET, signal_id)
        return _signal(rows[0]) if rows else None

    async def lookup(self, signal_ids: Sequence[str]) -> list[Receipt]:
        """
        See `SignalStore`.
        """
        rows = await self._database.rows(_LOOKUP, list(dict.fromkeys(signal_ids)))
        return [Kept(*tuple(row)[1:]).receipt(row["signal_id"], duplicate=True) for row in rows]

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
        filters, values = "", [after, limit, bytes_max]
        terms: list[str] = []
        for column, value in (("ledger_partition", partition), ("origin", ORIGIN_NAMES.get(origin, ""))):
            if value:
                terms.append(value)
                filters += f" AND {column} = ${len(values) + len(terms)}"
        rows = await self._database.rows(_PAGE.replace("/* filters */", filters), *values, *terms)
        whole = len(rows) < limit and sum(len(row["signal_data"]) for row in rows) < bytes_max
        return Page([_signal(row) for row in rows], 0 if whole or not rows else rows[-1]["place"])

    async def list_conflicts(self, *, before: int = 0, limit: int = 100) -> Page[Conflict]:
        """
        See `SignalStore`.
        """
        rows = await self._database.rows(_CONFLICTS, before or _CURSOR_MAX, limit)
        return Page([_conflict(row) for row in rows], rows[-1]["conflict"] if len(rows) == limit else 0)

    async def stats(self) -> GetIngestStatsResponse:
        """
        See `SignalStore`.
        """
        async with self._database.transaction(READ) as connection:
            counts = await one(connection, _COUNTS)
            by_origin = dict.fromkeys(ORIGINS, 0) | {row[0]: row[1] for row in await connection.fetch(_BY_ORIGIN)}
        return GetIngestStatsResponse(
            stored=sum(by_origin.values()),
            stored_by_origin=by_origin,
            unpositioned=counts["unpositioned"],
            conflicts_on_record=counts["conflicts"],
            store_epoch=counts["store_epoch"],
        )


def _signal(row: Any) -> ProcessedSignal:
    event = SignalEvent.FromString(row["signal_data"])
    placed = bool(row["ledger_partition"])
    return ProcessedSignal(
        signal_id=row["signal_id"],
        trace_id=row["trace_id"],
        ack_id=row["ack_id"],
        processed_at=timestamp(row["processed_at"]),
        emitted_at=event.emitted_at,
        partition_date=row["partition_date"],
        ledger_partition=row["ledger_partition"],
        ledger_sequence=event.ledger_sequence if placed else 0,
        origin=ORIGINS[row["origin"]],
        event=event,
        request_id=row["request_id"],
        ledger_index=event.ledger_index if placed else 0,
        content_digest=row["content_digest"],
    )


def _conflict(row: Any) -> Conflict:
    return Conflict(
        signal_id=row["signal_id"],
        at=timestamp(row["at"]),
        origin=ORIGINS[row["origin"]],
        stored_digest=row["stored_digest"],
        offered_digest=row["offered_digest"],
        ledger_partition=row["ledger_partition"],
        ledger_index=row["ledger_index"],
        kind=row["kind"],
        request_id=row["request_id"],
        holder_signal_id=row["holder_signal_id"],
    )
