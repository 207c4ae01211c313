"""
What RiskCast has: lists for people, and for the reconciler the proof of what is missing.
"""

from collections.abc import Iterable, Sequence

from omen.v1.position_pb2 import IndexRange
from omen_rpc.errors import Reason, Violation, fault, invalid_fields
from omen_rpc.paging import page_number, page_size, page_token
from omen_rpc.position import pack
from omen_rpc.signal_rules import check_line, check_partition, check_signal_id
from riskcast.v1 import ingest_service_pb2
from riskcast.v1 import inventory_service_pb2 as pb
from riskcast.v1.inventory_service_pb2_grpc import InventoryServiceServicer
from riskcast_server.ingest import Counts, detail_of, origin_of
from riskcast_server.store import INDEX_MAX, POSITIONS_PER_LIST_MAX, Store

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1000
PAGE_BYTES_MAX = 768 << 10  # A reply may be 1 MiB; one signal may be 256 KiB, and comes last.
LOOKUP_IDS_MAX = 1000
RANGES = 1000
RANGES_MAX = 10_000
GAPS_MAX = 10_000
BLOCKS_MAX = 10_000
EPOCH_CHARS_MAX = 128


class Inventory(InventoryServiceServicer):
    """
    Answers InventoryService from the store; nothing here changes it.
    """

    def __init__(self, store: Store, counts: Counts) -> None:
        self._signals = store.signals
        self._positions = store.positions
        self._counts = counts

    async def GetProcessedSignal(
        self, request: pb.GetProcessedSignalRequest, _context: object
    ) -> pb.GetProcessedSignalResponse:
        """
        Return one stored signal.
        """
        refuse(check_signal_id(request.signal_id, "signal_id"))
        signal = await self._signals.get(request.signal_id)
        if signal is None:
            text = f"RiskCast has no signal {request.signal_id}."
            raise fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, text, metadata={"signal_id": request.signal_id})
        return pb.GetProcessedSignalResponse(signal=signal)

    async def ListProcessedSignals(
        self, request: pb.ListProcessedSignalsRequest, _context: object
    ) -> pb.ListProcessedSignalsResponse:
        """
        Return a page of stored signals, in the order they were stored.
        """
        if request.partition:
            refuse(check_partition(request.partition, "partition"))
        unspecified = ingest_service_pb2.INGEST_ORIGIN_UNSPECIFIED
        page = await self._signals.list_signals(
            partition=request.partition,
            origin=origin_of(request.origin) if request.origin else unspecified,
            after=page_number(request),
            limit=page_size(request, PAGE_SIZE, PAGE_SIZE_MAX),
            bytes_max=PAGE_BYTES_MAX,
        )
        token = page_token(request, str(page.cursor)) if page.cursor else ""
        return pb.ListProcessedSignalsResponse(signals=page.items, next_page_token=token)

    async def LookupSignals(self, request: pb.LookupSignalsRequest, _context: object) -> pb.LookupSignalsResponse:
        """
        Tell which ids are stored. An id that cannot be one is unknown.
        """
        ids = request.signal_ids
        if not 1 <= len(ids) <= LOOKUP_IDS_MAX:
            raise invalid_fields([Violation("signal_ids", f"has {len(ids)} entries, 1 to {LOOKUP_IDS_MAX} may be")])
        possible = [each for each in ids if not any(check_signal_id(each, ""))]
        receipts = await self._signals.lookup(possible)
        known = {receipt.signal_id for receipt in receipts}
        found = [detail_of(receipt).receipt for receipt in receipts]
        unknown = [each for each in dict.fromkeys(ids) if each not in known]
        return pb.LookupSignalsResponse(receipts=found, unknown=unknown)

    async def GetIngestStats(self, _request: pb.GetIngestStatsRequest, _context: object) -> pb.GetIngestStatsResponse:
        """
        Count what is stored, and what this process has done.
        """
        stats = await self._signals.stats()
        counts = self._counts
        stats.started_at.CopyFrom(counts.started_at)
        stats.accepted, stats.duplicates = counts.accepted, counts.duplicates
        stats.conflicts, stats.refused = counts.conflicts, counts.refused
        return stats

    async def ListConflicts(self, request: pb.ListConflictsRequest, _context: object) -> pb.ListConflictsResponse:
        """
        Return a page of conflicts, newest first.
        """
        limit = page_size(request, PAGE_SIZE, PAGE_SIZE_MAX)
        page = await self._signals.list_conflicts(before=page_number(request), limit=limit)
        token = page_token(request, str(page.cursor)) if page.cursor else ""
        return pb.ListConflictsResponse(conflicts=page.items, next_page_token=token)

    async def GetCoverage(self, request: pb.GetCoverageRequest, _context: object) -> pb.GetCoverageResponse:
        """
        Tell what is missing of a range, and fingerprint the rest.
        """
        gaps = request.ledger_gaps
        violations = [
            *check_partition(request.partition, "partition"),
            *check_line(request.ledger_epoch, EPOCH_CHARS_MAX, "ledger_epoch"),
        ]
        violations += too_large(request.from_index, "from_index") + too_large(request.through_index, "through_index")
        if len(gaps) > GAPS_MAX:
            violations.append(Violation("ledger_gaps", f"has {len(gaps)} entries, {GAPS_MAX} at most"))
        else:
            violations += wrong_ranges(gaps, "ledger_gaps")
        refuse(violations)
        reply = await self._positions.coverage(
            request.partition,
            request.from_index,
            request.through_index,
            ledger_gaps=gaps,
            max_ranges=min(request.max_ranges or RANGES, RANGES_MAX),
            bypass_cache=request.bypass_cache,
        )
        if request.packed:
            reply.missing_packed.extend(pack((each.first, each.last) for each in reply.missing))
            reply.ClearField("missing")
        return reply

    async def CompareBlocks(self, request: pb.CompareBlocksRequest, _context: object) -> pb.CompareBlocksResponse:
        """
        Tell which blocks differ from what is stored.
        """
        violations = [*check_partition(request.partition, "partition")]
        violations += too_large(request.through_index, "through_index")
        if len(request.blocks) > BLOCKS_MAX:
            violations.append(Violation("blocks", f"has {len(request.blocks)} entries, {BLOCKS_MAX} at most"))
        else:
            violations += [
                Violation(f"blocks[{at}].block", "is beyond what there can be")
                for at, block in enumerate(request.blocks)
                if block.block >= INDEX_MAX >> 10
            ]
        refuse(violations)
        return await self._positions.compare(request.partition, request.through_index, request.blocks)

    async def ListPositions(self, request: pb.ListPositionsRequest, _context: object) -> pb.ListPositionsResponse:
        """
        List what is stored in a range.
        """
        violations = [*check_partition(request.partition, "partition")]
        violations += too_large(request.first_index, "first_index") + too_large(request.last_index, "last_index")
        if request.last_index - max(request.first_index, 1) >= POSITIONS_PER_LIST_MAX:
            violations.append(Violation("last_index", f"is too far: {POSITIONS_PER_LIST_MAX} positions at most"))
        refuse(violations)
        first = max(request.first_index, 1)
        positions = await self._positions.positions(request.partition, first, request.last_index)
        return pb.ListPositionsResponse(positions=positions)


def refuse(violations: Iterable[Violation]) -> None:
    """
    Raise when there are violations.
    """
    found = list(violations)
    if found:
        raise invalid_fields(found)


def too_large(value: int, path: str) -> list[Violation]:
    """
    Return that a position is beyond what there can be.
    """
    return [Violation(path, f"is above {INDEX_MAX}")] if value > INDEX_MAX else []


def wrong_ranges(ranges: Sequence[IndexRange], path: str) -> list[Violation]:
    """
    Return which ranges are none.
    """
    return [
        Violation(f"{path}[{at}]", f"{each.first} to {each.last} is no range of positions")
        for at, each in enumerate(ranges)
        if not 1 <= each.first <= each.last <= INDEX_MAX
    ]
