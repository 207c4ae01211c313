"""
PostgreSQL's `PositionStore`: the counting is done in SQL, on ranges and multiranges.

Complete blocks are answered from their cached digests, everything else from its rows. What was found complete on the
way is cached in a transaction of its own, unless a row was deleted or updated since.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from omen.v1.position_pb2 import BlockFingerprint, IndexRange
from omen_rpc.signal_codec import BLOCK_POSITIONS, from_int64
from omen_storage.postgres.connection import DURABLE, READ, Connection, Database, one
from riskcast.v1.inventory_service_pb2 import CompareBlocksResponse, GetCoverageResponse, Position
from riskcast_server.store import INDEX_MAX, POSITIONS_PER_LIST_MAX
from riskcast_server.store.errors import StoreError

# Cached blocks that lie whole in $2..$3 and touch no gap; $6 says whether to look at all.
_CACHED: Final = """
WITH gaps AS (
    SELECT coalesce(range_agg(int8range(first, last, '[]')), '{}') AS ranges
    FROM unnest($4::bigint[], $5::bigint[]) AS gap (first, last)
)
SELECT block, h1, h2 FROM block_cache, gaps
WHERE $6 AND ledger_partition = $1 AND block BETWEEN ($2::bigint + 1022) >> 10 AND ($3::bigint >> 10) - 1
AND NOT ranges && int8range(block * 1024 + 1, block * 1024 + 1025)
ORDER BY block"""
# The rows are sought span by span. Sorting them keeps the planner from a plain join, which would look at every row of
# the partition for each span.
#
# What is held: the cached blocks $6, and the rows in all that they leave of $2..$3, as runs without a hole.
_RANGES: Final = """
WITH cached AS (
    SELECT coalesce(range_agg(int8range(block * 1024 + 1, block * 1024 + 1025)), '{}') AS ranges
    FROM unnest($6::bigint[]) AS block
), uncached AS (
    SELECT unnest(int8multirange(int8range($2, $3, '[]')) - ranges) AS span FROM cached
), rows AS (
    SELECT ledger_index, ledger_index - row_number() OVER (ORDER BY ledger_index) AS run
    FROM uncached CROSS JOIN LATERAL (
        SELECT ledger_index FROM positions
        WHERE ledger_partition = $1 AND ledger_index >= lower(span) AND ledger_index < upper(span)
        ORDER BY ledger_index
    ) AS held
), runs AS (
    SELECT int8range(min(ledger_index), max(ledger_index), '[]') AS run FROM rows GROUP BY rows.run
), held AS (
    SELECT coalesce((SELECT range_agg(run) FROM runs), '{}') + ranges AS ranges FROM cached
), gaps AS (
    SELECT coalesce(range_agg(int8range(first, last, '[]')), '{}') AS ranges
    FROM unnest($4::bigint[], $5::bigint[]) AS gap (first, last)
), answer AS (
    SELECT true AS is_missing, unnest(int8multirange(int8range($2, $3, '[]')) - held.ranges - gaps.ranges) AS part
    FROM held, gaps
    UNION ALL
    SELECT false, unnest(held.ranges * gaps.ranges * int8multirange(int8range($2, $3, '[]'))) FROM held, gaps
)
SELECT is_missing, lower(part) AS first, upper(part) - 1 AS last FROM answer ORDER BY first LIMIT $7"""
# Digests by block of the rows in $2..$3 that are neither in a cached block nor in a gap.
_DIGESTS: Final = """
WITH cached AS (
    SELECT coalesce(range_agg(int8range(block * 1024 + 1, block * 1024 + 1025)), '{}') AS ranges
    FROM unnest($6::bigint[]) AS block
), gaps AS (
    SELECT coalesce(range_agg(int8range(first, last, '[]')), '{}') AS ranges
    FROM unnest($4::bigint[], $5::bigint[]) AS gap (first, last)
), spans AS (
    SELECT unnest(int8multirange(int8range($2, $3, '[]')) - cached.ranges - gaps.ranges) AS span FROM cached, gaps
)
SELECT (ledger_index - 1) >> 10 AS block, count(*) AS count, bit_xor(h1) AS h1, bit_xor(h2) AS h2
FROM spans CROSS JOIN LATERAL (
    SELECT ledger_index, h1, h2 FROM positions
    WHERE ledger_partition = $1 AND ledger_index >= lower(span) AND ledger_index < upper(span)
    ORDER BY ledger_index
) AS held
GROUP BY 1 ORDER BY 1"""
_STATE: Final = """
SELECT store_epoch, generation,
       (SELECT max(ledger_index) FROM positions WHERE ledger_partition = $1) AS max_index,
       (SELECT count(*) FROM signals WHERE NOT positioned AND partition_date = $2) AS unpositioned
FROM store_meta"""
_BLOCK: Final = """
SELECT count(*) AS count, coalesce(bit_xor(h1), 0) AS h1, coalesce(bit_xor(h2), 0) AS h2 FROM positions
WHERE ledger_partition = $1 AND ledger_index BETWEEN $2 AND $3"""
_POSITIONS: Final = """
SELECT positions.ledger_index, signal_id, content_digest, ack_id FROM positions JOIN signals USING (signal_id)
WHERE positions.ledger_partition = $1 AND positions.ledger_index BETWEEN $2 AND $3 ORDER BY positions.ledger_index"""
# FOR SHARE waits for a delete that is under way; if there was one, the generation is another and nothing is cached.
_CACHE: Final = """
WITH same AS MATERIALIZED (SELECT FROM store_meta WHERE generation = $2 FOR SHARE)
INSERT INTO block_cache (ledger_partition, block, h1, h2)
SELECT $1, digest.* FROM unnest($3::bigint[], $4::bigint[], $5::bigint[]) AS digest, same
ON CONFLICT DO NOTHING"""


class PostgresPositions:
    """
    Reads from the pool, and caches through it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def coverage(
        self,
        partition: str,
        from_index: int,
        through_index: int,
        *,
        ledger_gaps: Sequence[IndexRange] = (),
        max_ranges: int = 1000,
        bypass_cache: bool = False,
    ) -> GetCoverageResponse:
        """
        See `PositionStore`.
        """
        first, last = max(1, from_index), through_index
        _refuse_beyond(first, last)
        gaps = [gap for gap in ledger_gaps if max(first, gap.first) <= min(last, gap.last)]
        gap_columns = [max(first, gap.first) for gap in gaps], [min(last, gap.last) for gap in gaps]
        async with self._database.transaction(READ) as connection:
            state = await one(connection, _STATE, partition, partition[:10])
            answer = GetCoverageResponse(
                through_index=last,
                max_index=state["max_index"] or 0,
                unpositioned=state["unpositioned"],
                store_epoch=state["store_epoch"],
            )
            digests: list[Any] = []
            if first <= last:
                survey = _Survey(connection, partition, first, gap_columns, use_cache=not bypass_cache)
                digests = await survey.count(answer, max(1, max_ranges))
        await self._cache(partition, state["generation"], digests)
        return answer

    async def compare(
        self, partition: str, through_index: int, blocks: Sequence[BlockFingerprint]
    ) -> CompareBlocksResponse:
        """
        See `PositionStore`.
        """
        _refuse_beyond(1, through_index)
        digests: list[Any] = []
        async with self._database.transaction(READ) as connection:
            state = await one(connection, _STATE, partition, partition[:10])
            answer = CompareBlocksResponse(store_epoch=state["store_epoch"])
            for each in blocks:
                first, last = _bounds(each.block)
                cached = await connection.fetch(_CACHED, partition, first, last, [], [], last <= through_index)
                if cached:
                    held = _fingerprint(each.block, BLOCK_POSITIONS, cached[0])
                else:
                    row = await one(connection, _BLOCK, partition, first, min(last, through_index))
                    held = _fingerprint(each.block, row["count"], row)
                    if row["count"] == BLOCK_POSITIONS:
                        digests.append({"block": each.block, "h1": row["h1"], "h2": row["h2"]})
                if held != each:
                    answer.differing.append(held)
        await self._cache(partition, state["generation"], digests)
        return answer

    async def positions(self, partition: str, first_index: int, last_index: int) -> list[Position]:
        """
        See `PositionStore`.
        """
        _refuse_beyond(first_index, last_index)
        if last_index - first_index >= POSITIONS_PER_LIST_MAX:
            raise ValueError(f"a list has at most {POSITIONS_PER_LIST_MAX} positions")
        async with self._database.transaction(READ) as connection:
            rows = await connection.fetch(_POSITIONS, partition, first_index, last_index)
        return [Position(index=row[0], signal_id=row[1], content_digest=row[2], ack_id=row[3]) for row in rows]

    async def _cache(self, partition: str, generation: int, digests: Sequence[Any]) -> None:
        if not digests:
            return
        columns = [[digest[column] for digest in digests] for column in ("block", "h1", "h2")]
        # The answer stands without it: a digest that is not cached is computed again.
        with suppress(StoreError):
            async with self._database.transaction(DURABLE) as connection:
                await connection.execute(_CACHE, partition, generation, *columns)


class _Survey:
    """
    One snapshot of one partition, from *first* on.
    """

    def __init__(
        self, connection: Connection, partition: str, first: int, gaps: tuple[list[int], list[int]], *, use_cache: bool
    ) -> None:
        self._connection = connection
        self._partition = partition
        self._first = first
        self._gaps = gaps
        self._use_cache = use_cache

    async def count(self, answer: GetCoverageResponse, ranges_max: int) -> list[Any]:
        """
        Fill *answer* up to its `through_index`, or to where the ranges run out. Return digests of complete blocks.
        """
        last = answer.through_index
        span = (self._partition, self._first, last, *self._gaps)
        cached = await self._connection.fetch(_CACHED, *span, self._use_cache)
        numbers = [row["block"] for row in cached]
        for row in await self._connection.fetch(_RANGES, *span, numbers, ranges_max + 1):
            if len(answer.missing) + len(answer.recoverable) == ranges_max:
                answer.next_index, answer.through_index = row["first"], row["first"] - 1
                break
            ranges = answer.missing if row["is_missing"] else answer.recoverable
            ranges.append(IndexRange(first=row["first"], last=row["last"]))
        last = answer.through_index
        cached = [row for row in cached if _bounds(row["block"])[1] <= last]
        computed: list[Any] = []
        if self._first <= last:
            span = (self._partition, self._first, last, *self._gaps)
            computed = await self._connection.fetch(_DIGESTS, *span, [row["block"] for row in cached])
        answer.count = BLOCK_POSITIONS * len(cached) + sum(row["count"] for row in computed)
        for row in (*cached, *computed):
            answer.fingerprint_hi ^= from_int64(row["h1"])
            answer.fingerprint_lo ^= from_int64(row["h2"])
        return [row for row in computed if row["count"] == BLOCK_POSITIONS]


def _bounds(block: int) -> tuple[int, int]:
    return block * BLOCK_POSITIONS + 1, (block + 1) * BLOCK_POSITIONS


def _fingerprint(block: int, count: int, digest: Any) -> BlockFingerprint:
    return BlockFingerprint(
        block=block,
        count=count,
        fingerprint_hi=from_int64(digest["h1"]),
        fingerprint_lo=from_int64(digest["h2"]),
    )


def _refuse_beyond(first: int, last: int) -> None:
    if max(first, last) > INDEX_MAX or min(first, last) < 0:
        raise ValueError(f"positions go from 1 to {INDEX_MAX}")
