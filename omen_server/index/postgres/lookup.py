"""
The questions to the index. One round trip where the hot path asks; a page may take a few, in one snapshot.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from omen_server.index import WANTED_MAX, Counts, Known, Page, Query, Wanted
from omen_server.index.errors import IndexFellBack
from omen_server.index.row import bounded_ns
from omen_storage.postgres.connection import READ, Connection, Database, one

_KNOWN: Final = """ledger_offset, ledger_partition, ledger_index, signal_id, input_event_hash, content_digest, status,
    ack_id"""
_FIND: Final = f"""
SELECT first.*, (SELECT ledger_offset FROM omen_index)
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
    WITH ORDINALITY AS wanted (id, input, content, behind, place)
LEFT JOIN LATERAL (
    SELECT {_KNOWN} FROM omen_signals
    WHERE signal_id = wanted.id
      AND wanted.input IN ('', input_event_hash) AND wanted.content IN ('', content_digest)
      AND ledger_offset > wanted.behind
    ORDER BY ledger_offset LIMIT 1
) AS first ON true
ORDER BY wanted.place"""  # noqa: S608 - the columns stand above.
_FIRST_SINCE: Final = """
SELECT ledger_offset FROM omen_signals WHERE latest_ns >= $1 ORDER BY latest_ns, ledger_offset LIMIT 1"""
# A partition is named for the UTC date of what it holds, so none behind that date holds anything emitted by then.
_LAST_BY: Final = 'SELECT max(last_offset) FROM omen_signal_partitions WHERE ledger_partition <= $1 COLLATE "C"'
_COUNTS: Final = """
SELECT coalesce(sum(row_count), 0)::bigint,
       coalesce(sum(row_count) FILTER (WHERE ledger_partition IN ($1, $1 || '-late')), 0)::bigint
FROM omen_signal_partitions"""


class PostgresLookup:
    """
    The `Lookup` of a database.
    """

    def __init__(self, database: Database, looked_rows_max: int) -> None:
        self._database = database
        self._looked_rows_max = looked_rows_max

    async def find(self, wanted: Sequence[Wanted], true_through: int = 0) -> list[Known | None]:
        """
        See `Lookup`. One statement is a snapshot of its own: no transaction, and so one round trip.
        """
        if len(wanted) > WANTED_MAX:
            raise ValueError(f"more than {WANTED_MAX} wanted at once")
        ids = [each.signal_id for each in wanted]
        hashes = [each.input_event_hash for each in wanted]
        digests = [each.content_digest for each in wanted]
        behind = [each.after_offset for each in wanted]
        async with self._database.connection() as connection:
            rows = await connection.fetch(_FIND, ids, hashes, digests, behind)
        if rows and rows[0][-1] < true_through:
            raise IndexFellBack(rows[0][-1], true_through)
        return [Known(*known) if known[0] is not None else None for *known, _stands in rows]

    async def page(self, query: Query, before_offset: int = 0, rows_max: int = 100) -> Page:
        """
        See `Lookup`.
        """
        async with self._database.transaction(READ) as connection:
            low, high = await _bounds(connection, query, before_offset)
            if low >= high:
                return Page([], 0)
            bottom = await self._bottom(connection, query, low, high) if query.sifts else low
            conditions = _Conditions(max(low, bottom), high)
            conditions.narrow(query)
            conditions.sift(query)
            sql = (
                f"SELECT {_KNOWN} FROM omen_signals WHERE {conditions} ORDER BY ledger_offset DESC LIMIT {rows_max + 1}"  # noqa: S608 - no value.
            )
            found = [Known(*row) for row in await connection.fetch(sql, *conditions.values)]
        if len(found) > rows_max:
            return Page(found[:rows_max], found[rows_max - 1].offset)
        return Page(found, bottom if bottom > low else 0)

    async def first_since(self, emitted_ns: int) -> int | None:
        """
        See `Lookup`.
        """
        async with self._database.transaction(READ) as connection:
            return await _first_since(connection, bounded_ns(emitted_ns))

    async def counts(self, day: str) -> Counts:
        """
        See `Lookup`.
        """
        async with self._database.transaction(READ) as connection:
            return Counts(*await one(connection, _COUNTS, day))

    async def _bottom(self, connection: Connection, query: Query, low: int, high: int) -> int:
        """
        Return the lowest offset that this page looks at: that of so many rows, as the indexes count them.
        """
        conditions = _Conditions(low, high)
        conditions.narrow(query)
        sql = (
            f"SELECT ledger_offset FROM omen_signals WHERE {conditions} "  # noqa: S608 - no value.
            f"ORDER BY ledger_offset DESC LIMIT 1 OFFSET {self._looked_rows_max - 1}"
        )
        return int(await connection.fetchval(sql, *conditions.values) or low)


class _Conditions:
    """
    Conditions on rows, joined by AND, and their values.
    """

    def __init__(self, low: int, high: int) -> None:
        self.values: list[object] = []
        self._texts: list[str] = []
        self._add("ledger_offset >= {}", low)
        self._add("ledger_offset < {}", high)

    def narrow(self, query: Query) -> None:
        """
        Add those that an index serves.
        """
        if query.trace_ids:
            self._add("trace_id = ANY ({}::text[])", list(query.trace_ids))
        for column in ("input_event_hash", "source_event_id"):
            if value := getattr(query, column):
                self._add(f"md5({column}) = md5({{0}}) AND {column} = {{0}}", value)
        if query.partition:
            self._add("ledger_partition = {}", query.partition)

    def sift(self, query: Query) -> None:
        """
        Add those that no index serves.
        """
        if query.emitted_from_ns is not None:
            self._add("emitted_ns >= {}", query.emitted_from_ns)
        if query.emitted_through_ns is not None:
            self._add("emitted_ns <= {}", query.emitted_through_ns)
        if query.categories:
            self._add("category = ANY ({}::integer[])", list(query.categories))
        for word in query.words:
            # Unlike LIKE, strpos knows no wildcards and takes the words as they are.
            self._add("strpos(title, {}) > 0", word)

    def __str__(self) -> str:
        return " AND ".join(self._texts)

    def _add(self, text: str, value: object) -> None:
        self.values.append(value)
        self._texts.append(text.format(f"${len(self.values)}"))


async def _bounds(connection: Connection, query: Query, before_offset: int) -> tuple[int, int]:
    """
    Return the first offset that can fit and the first one behind all that can.
    """
    low, high = 1, before_offset or (1 << 62)
    if query.emitted_from_ns is not None:
        low = await _first_since(connection, query.emitted_from_ns) or high
    if query.emitted_through_ns is not None:
        day = datetime.fromtimestamp(query.emitted_through_ns // 1_000_000_000, UTC).date().isoformat()
        high = min(high, (await connection.fetchval(_LAST_BY, f"{day}-late") or 0) + 1)
    return low, high


async def _first_since(connection: Connection, emitted_ns: int) -> int | None:
    found: int | None = await connection.fetchval(_FIRST_SINCE, emitted_ns)
    return found
