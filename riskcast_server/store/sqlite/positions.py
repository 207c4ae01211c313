"""
SQLite's `PositionStore`.

Complete blocks are answered from their cached digests, everything else from its rows. A block that was found complete
on the way is cached by the writer, later, unless a row was deleted or updated since.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import groupby
from operator import itemgetter, xor
from typing import Final

from omen.v1.position_pb2 import BlockFingerprint, IndexRange
from omen_rpc.signal_codec import BLOCK_POSITIONS, block_of, from_int64
from riskcast.v1.inventory_service_pb2 import CompareBlocksResponse, GetCoverageResponse, Position
from riskcast_server.store import INDEX_MAX, POSITIONS_PER_LIST_MAX
from riskcast_server.store.sqlite.readers import Read, Readers, Rows
from riskcast_server.store.sqlite.tally import Tally, merged
from riskcast_server.store.sqlite.writer import Digest, Writer

# As many rows in one go: the loop is not held up for longer than some ten milliseconds.
ROWS_PER_READ: Final = 16 * BLOCK_POSITIONS

_STATE: Final = """
SELECT (SELECT store_epoch FROM store_meta), (SELECT generation FROM store_meta),
       (SELECT max(ledger_index) FROM positions WHERE ledger_partition = ?),
       (SELECT count(*) FROM signals WHERE positioned = 0 AND partition_date = ?)"""
_CACHED: Final = """
SELECT block, h1, h2 FROM block_cache WHERE ledger_partition = ? AND block BETWEEN ? AND ? ORDER BY block"""
_ROWS: Final = """
SELECT ledger_index, h1, h2 FROM positions WHERE ledger_partition = ? AND ledger_index BETWEEN ? AND ?
ORDER BY ledger_index LIMIT ?"""
_POSITIONS: Final = """
SELECT positions.ledger_index, signal_id, content_digest, ack_id FROM positions JOIN signals USING (signal_id)
WHERE positions.ledger_partition = ? AND positions.ledger_index BETWEEN ? AND ? ORDER BY positions.ledger_index"""


class SqlitePositions:
    """
    Reads through the readers; hands new digests to the writer.
    """

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

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
        first = max(1, from_index)
        _refuse_beyond(first, through_index)
        tally = Tally(first, through_index, merged(ledger_gaps, first, through_index), max_ranges)

        async def ask(read: Read) -> tuple[GetCoverageResponse, list[Digest]]:
            ((epoch, generation, max_index, unpositioned),) = await read(_STATE, (partition, partition[:10]))
            survey = _Survey(read, partition, generation, use_cache=not bypass_cache)
            await survey.count(tally)
            answer = tally.answer()
            answer.MergeFrom(
                GetCoverageResponse(max_index=max_index or 0, unpositioned=unpositioned, store_epoch=epoch)
            )
            return answer, survey.digests

        answer, digests = await self._readers.snapshot(ask)
        self._writer.remember(digests)
        return answer

    async def compare(
        self, partition: str, through_index: int, blocks: Sequence[BlockFingerprint]
    ) -> CompareBlocksResponse:
        """
        See `PositionStore`.
        """
        _refuse_beyond(1, through_index)

        async def ask(read: Read) -> tuple[CompareBlocksResponse, list[Digest]]:
            ((epoch, generation, *_),) = await read(_STATE, (partition, partition[:10]))
            survey = _Survey(read, partition, generation, use_cache=True)
            held = [await survey.block(each.block, through_index) for each in blocks]
            differing = [ours for ours, theirs in zip(held, blocks, strict=True) if ours != theirs]
            return CompareBlocksResponse(differing=differing, store_epoch=epoch), survey.digests

        answer, digests = await self._readers.snapshot(ask)
        self._writer.remember(digests)
        return answer

    async def positions(self, partition: str, first_index: int, last_index: int) -> list[Position]:
        """
        See `PositionStore`.
        """
        _refuse_beyond(first_index, last_index)
        if last_index - first_index >= POSITIONS_PER_LIST_MAX:
            raise ValueError(f"a list has at most {POSITIONS_PER_LIST_MAX} positions")
        rows = await self._readers.snapshot(lambda read: read(_POSITIONS, (partition, first_index, last_index)))
        return [Position(index=row[0], signal_id=row[1], content_digest=row[2], ack_id=row[3]) for row in rows]


class _Survey:
    """
    One snapshot of one partition. `digests` are those of complete blocks that had to be computed.
    """

    def __init__(self, read: Read, partition: str, generation: int, *, use_cache: bool) -> None:
        self.digests: list[Digest] = []
        self._read = read
        self._partition = partition
        self._generation = generation
        self._use_cache = use_cache

    async def count(self, tally: Tally) -> None:
        """
        Tell *tally* everything from where it is up to its end.
        """
        cached = await self._cached(block_of(tally.at + BLOCK_POSITIONS - 1), block_of(tally.last + 1) - 1)
        for block, h1, h2 in cached:
            first, last = _bounds(block)
            if tally.touches_gap(first, last):
                continue  # Its rows are needed, to take those in the gap out.
            await self._count_rows(tally, first - 1)
            tally.held_throughout(first, last, h1, h2)
            if tally.is_full():
                return
        await self._count_rows(tally, tally.last)
        tally.not_held(tally.last)

    async def block(self, block: int, through_index: int) -> BlockFingerprint:
        """
        Return what is held of a block, up to *through_index*.
        """
        first, last = _bounds(block)
        if last <= through_index:
            for _, h1, h2 in await self._cached(block, block):
                return _fingerprint(block, BLOCK_POSITIONS, h1, h2)
        rows = await self._rows(first, min(last, through_index))
        digest = self._notice(rows) if len(rows) == BLOCK_POSITIONS else _digest(rows)
        return _fingerprint(block, len(rows), *digest)

    async def _count_rows(self, tally: Tally, last: int) -> None:
        at = tally.at
        while at <= last and not tally.is_full():
            rows = await self._rows(at, last)
            at = last + 1
            if len(rows) == ROWS_PER_READ:
                at = rows[-1][0] + 1
                if at % BLOCK_POSITIONS != 1:  # The read ends inside a block. The next one begins with that block.
                    at, _ = _bounds(block_of(at))
                    del rows[bisect_left(rows, at, key=itemgetter(0)) :]
            for run in _by_block(rows):
                self._count_run(tally, run)

    def _count_run(self, tally: Tally, run: Rows) -> None:
        if len(run) != BLOCK_POSITIONS:
            tally.held(run)
            return
        digest = self._notice(run)
        if tally.touches_gap(run[0][0], run[-1][0]):
            tally.held(run)
        else:
            tally.held_throughout(run[0][0], run[-1][0], *digest)

    async def _cached(self, first_block: int, last_block: int) -> Rows:
        if not self._use_cache or first_block > last_block:
            return []
        return await self._read(_CACHED, (self._partition, first_block, last_block))

    async def _rows(self, first: int, last: int) -> Rows:
        return await self._read(_ROWS, (self._partition, first, last, ROWS_PER_READ))

    def _notice(self, block: Rows) -> tuple[int, int]:
        digest = _digest(block)
        self.digests.append(Digest(self._partition, block_of(block[0][0]), *digest, self._generation))
        return digest


def _by_block(rows: Rows) -> Iterator[Rows]:
    for _, run in groupby(rows, key=lambda row: block_of(row[0])):
        yield list(run)


def _bounds(block: int) -> tuple[int, int]:
    return block * BLOCK_POSITIONS + 1, (block + 1) * BLOCK_POSITIONS


def _digest(rows: Rows) -> tuple[int, int]:
    return reduce(xor, map(itemgetter(1), rows), 0), reduce(xor, map(itemgetter(2), rows), 0)


def _fingerprint(block: int, count: int, h1: int, h2: int) -> BlockFingerprint:
    return BlockFingerprint(block=block, count=count, fingerprint_hi=from_int64(h1), fingerprint_lo=from_int64(h2))


def _refuse_beyond(first: int, last: int) -> None:
    if max(first, last) > INDEX_MAX or first < 0 or last < 0:
        raise ValueError(f"positions go from 1 to {INDEX_MAX}")
