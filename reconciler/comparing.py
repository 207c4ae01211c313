"""
Asking both sides, in the order that makes an answer mean something: the ledger's watermark first, RiskCast second.

Then a gap that closes meanwhile is harmless, and something too much can be no race.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen.v1.position_pb2 import BlockFingerprint, IndexRange, LedgerGap
from omen.v1.signal_pb2 import SignalEvent
from omen_client import OmenClient, RiskCastClient
from omen_rpc.position import BLOCK_POSITIONS, unpack
from reconcile.v1 import reconcile_service_pb2 as pb

from .compare import FINDINGS_MAX, Coverage, Held, Sum, differences, ranges_of
from .plan import Watermark, watermark_of

INDEXES_MAX = 10_000
RANGES_MAX = 10_000
BLOCKS_AT_ONCE = 1_000
# The first look at a day reads every record of it, on both sides; a million takes a busy machine minutes.
FIRST_LOOK_S = 600.0
# More blocks than this that differ are no riddle any more; the first ones are named, the rest is counted.
BLOCKS_DRILLED_MAX = 20


class Comparing:
    """
    Both sides of a comparison.
    """

    def __init__(self, omen: OmenClient, riskcast: RiskCastClient) -> None:
        self._omen = omen
        self._riskcast = riskcast

    async def watermark(self, partition: str) -> Watermark:
        """
        Fix up to where a partition is compared.
        """
        return watermark_of(partition, await self._omen.watermark(partition, timeout_s=FIRST_LOOK_S))

    async def coverage(self, mark: Watermark, *, full: bool = False) -> Coverage:
        """
        Ask RiskCast what it has below a watermark. With *full* it computes every block from its rows.
        """
        missing: list[tuple[int, int]] = []
        recoverable: list[tuple[int, int]] = []
        count = high = low = max_index = unpositioned = compared = 0
        first, epoch = 1, ""
        while first:
            reply = await self._riskcast.coverage(
                mark.partition,
                mark.through,
                from_index=first,
                ledger_epoch=mark.ledger_epoch,
                ledger_gaps=[IndexRange(first=begin, last=end) for begin, end in mark.gaps],
                max_ranges=RANGES_MAX,
                bypass_cache=full,
                packed=True,
                timeout_s=FIRST_LOOK_S,
            )
            # A RiskCast that cannot pack them sends them as they are.
            missing += [*ranges_of(reply.missing), *unpack(reply.missing_packed)]
            recoverable += ranges_of(reply.recoverable)
            count, high, low = count + reply.count, high ^ reply.fingerprint_hi, low ^ reply.fingerprint_lo
            max_index, unpositioned = max(max_index, reply.max_index), reply.unpositioned
            compared += reply.ByteSize()
            first, epoch = reply.next_index, reply.store_epoch
        return Coverage(
            tuple(missing), tuple(recoverable), Sum(count, high, low), max_index, unpositioned, epoch, compared
        )

    async def ledger_sum(self, mark: Watermark) -> tuple[Sum, int]:
        """
        Return the ledger's own sum below a watermark, and how many bytes that took to tell.
        """
        reply = await self._omen.fingerprint(
            mark.partition, 1, mark.through, ledger_epoch=mark.ledger_epoch, timeout_s=FIRST_LOOK_S
        )
        return Sum(reply.count, reply.fingerprint_hi, reply.fingerprint_lo), reply.ByteSize()

    async def damaged(self, mark: Watermark) -> int:
        """
        Have the ledger derive all of a partition from its bytes, and return how many records have faults, 100 at most.

        A damaged record shows in the manifest as well; only where no record is to blame, that counts, as one.
        """
        found = 0
        frames = self._omen.verify(mark.partition)
        async with aclosing(frames):
            async for frame in frames:
                if isinstance(frame, ledger_pb.VerifyPartitionResponse.Verdict):
                    found = len(
                        {fault.ledger_index for fault in frame.faults if 0 < fault.ledger_index <= mark.highwater}
                    )
                    found = found or min(1, frame.fault_count)
        return found

    async def hashes(self, partition: str, indexes: Sequence[int]) -> list[tuple[int, int]]:
        """
        Return the hashes of positions that the ledger has; a damaged one has none.
        """
        held = await self.held(partition, indexes)
        return [each.hash_at(partition, index) for index, each in held.items()]

    async def held(self, partition: str, indexes: Sequence[int]) -> dict[int, Held]:
        """
        Return who holds positions in the ledger.
        """
        found: dict[int, Held] = {}
        for start in range(0, len(indexes), INDEXES_MAX):
            chosen = indexes[start : start + INDEXES_MAX]
            items = self._omen.read_partition(partition, indexes=chosen)
            async with aclosing(items):
                async for item in items:
                    if isinstance(item, SignalEvent):
                        found[item.ledger_index] = Held(item.signal_id, item.content_digest)
        return found

    async def findings(
        self, mark: Watermark, coverage: Coverage, *, proven: bool = False
    ) -> tuple[list[pb.Finding], int]:
        """
        Name what differs below a watermark, position by position, and count all of it.

        Where both sides are *proven* to be the same, only what the ledger has lost can be of interest.
        """
        found: list[pb.Finding] = []
        differing = [] if proven else await self._differing(mark)
        for block in differing[:BLOCKS_DRILLED_MAX]:
            first = block * BLOCK_POSITIONS + 1
            last = min(first + BLOCK_POSITIONS - 1, mark.through)
            stored = {
                each.index: Held(each.signal_id, each.content_digest)
                for each in await self._riskcast.positions(mark.partition, first, last)
            }
            ledger = await self._range(mark.partition, first, last)
            found += differences(mark.partition, ledger, stored, mark.gaps)
        found += await self._recoverable(mark, coverage, found)
        return found[:FINDINGS_MAX], len(found)

    async def ahead(self, mark: Watermark, coverage: Coverage) -> list[pb.Finding]:
        """
        Name what RiskCast holds beyond the ledger's end, as that is now: it was asked after the watermark was fixed.
        """
        if coverage.max_index <= mark.highwater:
            return []
        now = await self.watermark(mark.partition)
        if coverage.max_index <= now.highwater:
            return []
        first = max(now.highwater + 1, coverage.max_index - BLOCK_POSITIONS + 1)
        return [
            pb.Finding(
                kind=pb.FINDING_KIND_AHEAD_OF_LEDGER,
                partition=mark.partition,
                ledger_index=each.index,
                stored_signal_id=each.signal_id,
                stored_digest=each.content_digest,
            )
            for each in await self._riskcast.positions(mark.partition, first, coverage.max_index)
        ]

    async def _differing(self, mark: Watermark) -> list[int]:
        differing: list[int] = []
        batch: list[BlockFingerprint] = []
        async for block in self._omen.blocks(mark.partition, mark.through):
            batch.append(block)
            if len(batch) == BLOCKS_AT_ONCE:
                differing += await self._compare(mark, batch)
                batch = []
        if batch:
            differing += await self._compare(mark, batch)
        return differing

    async def _compare(self, mark: Watermark, blocks: Sequence[BlockFingerprint]) -> list[int]:
        reply = await self._riskcast.compare_blocks(mark.partition, mark.through, blocks)
        return [each.block for each in reply.differing]

    async def _range(self, partition: str, first: int, last: int) -> dict[int, Held]:
        found: dict[int, Held] = {}
        items = self._omen.read_partition(partition, after_index=first - 1, through_index=last)
        async with aclosing(items):
            async for item in items:
                if not isinstance(item, LedgerGap):
                    found[item.ledger_index] = Held(item.signal_id, item.content_digest)
        return found

    async def _recoverable(self, mark: Watermark, coverage: Coverage, found: Iterable[pb.Finding]) -> list[pb.Finding]:
        """
        Name what RiskCast still has of what the ledger has lost.
        """
        known = {finding.ledger_index for finding in found}
        more: list[pb.Finding] = []
        for start, last in pieces(coverage.recoverable):
            more += [
                pb.Finding(
                    kind=pb.FINDING_KIND_RECOVERABLE,
                    partition=mark.partition,
                    ledger_index=each.index,
                    stored_signal_id=each.signal_id,
                    stored_digest=each.content_digest,
                )
                for each in await self._riskcast.positions(mark.partition, start, last)
                if each.index not in known
            ]
            if len(more) >= FINDINGS_MAX:
                break
        return more


def pieces(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """
    Yield ranges in pieces of at most a block.
    """
    for first, last in ranges:
        for start in range(first, last + 1, BLOCK_POSITIONS):
            yield start, min(last, start + BLOCK_POSITIONS - 1)
