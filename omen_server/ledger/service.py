"""
LedgerService: the ledger, readable by anyone who wants to check it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import structlog

from omen.v1 import ledger_service_pb2 as pb
from omen.v1.ledger_service_pb2_grpc import LedgerServiceServicer
from omen_rpc.errors import Reason, fault
from omen_rpc.fields import Fields
from omen_rpc.paging import ITEMS_BYTES_MAX, RESPONSE_BYTES_MAX, item_bytes, page_place, page_size, page_token
from omen_rpc.position import BLOCK_POSITIONS
from omen_rpc.signal_codec import decode

from . import bounds, messages
from .alarm import Alarm
from .audit import Proof, Verdict
from .errors import PartitionNotSealed, RecordNotFound
from .ledger import Ledger
from .names import date_of, late_of
from .passage import Passage, Span
from .upkeep import tell_sealed

Answer = TypeVar("Answer")
# How far the hot path has settled a partition (position) and the whole ledger (offset).
Settled: TypeAlias = Callable[[str], tuple[int, int]]
# In which partition a signal lies; None when nobody knows.
PartitionOf: TypeAlias = Callable[[str], Awaitable[str | None]]

PARTITIONS_DEFAULT, PARTITIONS_MAX = 100, 500
BLOCKS_DEFAULT, BLOCKS_MAX = 1000, 10_000
FRAMES_DEFAULT, FRAMES_MAX = 20, 100
BATCH_DEFAULT = 100
GAPS_MAX = 1000
STEPS_MAX = 2000
PROGRESS_INTERVAL_S = 0.25
PartitionRequest: TypeAlias = (
    pb.GetPartitionRequest
    | pb.GetWatermarkRequest
    | pb.GetFingerprintRequest
    | pb.SealPartitionRequest
    | pb.VerifyPartitionRequest
    | pb.DumpFramesRequest
)
# Each goes over whole partitions; more of them at once would only take the disk from those that read a little.
AUDITS_MAX = 2

log = structlog.get_logger()


class LedgerService(LedgerServiceServicer):
    """
    Answers for the ledger it was given by `begin`. The gate lets no call in before that.
    """

    def __init__(self) -> None:
        self._settled: Settled = self._durable
        self._partition_of: PartitionOf = nowhere
        self._alarm = Alarm()
        self._audits = asyncio.Semaphore(AUDITS_MAX)
        self._works: set[asyncio.Task[Any]] = set()
        self._ledger: Ledger

    def begin(self, ledger: Ledger, settled: Settled | None = None, partition_of: PartitionOf | None = None) -> None:
        """
        Answer for *ledger* from now on.

        *settled* says how far the hot path is; without one everything durable counts as settled, as nothing is pushed.
        *partition_of* saves proofs the search through every partition.
        """
        self._ledger = ledger
        self._settled = settled or self._durable
        self._partition_of = partition_of or nowhere
        self._alarm.heard(ledger.recovered.skipped)
        ledger.heard = self._alarm.heard

    async def close(self) -> None:
        """
        Wait for what goes on although its caller may have gone.
        """
        await asyncio.gather(*self._works, return_exceptions=True)

    async def ListPartitions(self, request: pb.ListPartitionsRequest, _context: object) -> pb.ListPartitionsResponse:
        """
        List partitions, a page at a time.
        """
        fields = Fields(request)
        fields.enum("filter")
        fields.enum("order")
        fields.check()
        size_max = page_size(request, PARTITIONS_DEFAULT, PARTITIONS_MAX)
        after = bounds.place_of_partitions(page_place(request))
        reply = pb.ListPartitionsResponse()
        room = ITEMS_BYTES_MAX
        for name in bounds.names_of(self._ledger, request, after):
            info = await self._ledger.partition(name)
            if request.filter == pb.PARTITION_FILTER_SEALED and not info.is_sealed:
                continue
            message = messages.partition_message(info)
            room -= item_bytes(message)
            full = len(reply.partitions) >= size_max
            if full or (room < 0 and reply.partitions):
                reply.next_page_token = page_token(request, reply.partitions[-1].partition)
                break
            reply.partitions.append(message)
        return reply

    async def GetPartition(self, request: pb.GetPartitionRequest, _context: object) -> pb.GetPartitionResponse:
        """
        Describe one partition, with its gaps and its manifest.
        """
        name = named(request)
        info = await self._ledger.partition(name)
        gaps = info.gaps if info.is_sealed else await self._ledger.gaps(name)
        reply = pb.GetPartitionResponse(
            partition=messages.partition_message(info),
            gaps=[messages.gap_message(gap) for gap in gaps[:GAPS_MAX]],
            gap_count=len(gaps),
        )
        if reply.ByteSize() + len(info.manifest_json.encode()) + 8 <= RESPONSE_BYTES_MAX:
            reply.manifest_json = info.manifest_json
        return reply

    async def ReadPartition(
        self, request: pb.ReadPartitionRequest, _context: object
    ) -> AsyncIterator[pb.ReadPartitionResponse]:
        """
        Stream a partition's records in order, with its gaps named; those of its late partition behind them.
        """
        span = bounds.span_of(self._ledger, request)
        passage = Passage(
            validate=request.validate,
            batch_max=request.max_batch or BATCH_DEFAULT,
            bytes_max=ITEMS_BYTES_MAX,
            size_of=item_bytes,
            found=self._alarm.gap,
        )
        spans = [span]
        late = late_of(date_of(span.partition).isoformat())
        if request.include_late and late != span.partition and late in self._ledger.names():
            spans.append(Span(late, 0, self._ledger.durable_index(late)))
        for each in spans:
            if each.after < each.through:
                batches = self._ledger.read_partition(each.partition, each.after, each.through, each.indexes)
                async for frame in passage.frames(each, batches):
                    yield frame
        yield pb.ReadPartitionResponse(
            end=pb.ReadPartitionResponse.End(
                through_index=span.through, record_count=passage.record_count, gap_count=passage.gap_count
            )
        )

    async def GetWatermark(self, request: pb.GetWatermarkRequest, _context: object) -> pb.GetWatermarkResponse:
        """
        Tell how far a partition is durable and how far it is settled.
        """
        name = named(request)
        info = await self._ledger.partition(name)
        # Read after the count, so that no gap below it is missing.
        gaps = await self._ledger.gaps(name)
        durable = info.last_index
        settled_index, settled_offset = self._settled(name)
        return pb.GetWatermarkResponse(
            durable_highwater=durable,
            settled_index=min(settled_index, durable),
            ledger_epoch=self._ledger.identity.ledger_epoch,
            is_sealed=info.is_sealed,
            ledger_id=self._ledger.identity.ledger_id,
            durable_offset=self._ledger.durable_offset,
            settled_offset=settled_offset,
            gaps=bounds.ranges_of(name, gaps, 1, durable),
            manifest_revision=info.manifest_revision,
        )

    async def GetFingerprint(self, request: pb.GetFingerprintRequest, _context: object) -> pb.GetFingerprintResponse:
        """
        Fingerprint a range of positions.
        """
        name = named(request)
        first, through = bounds.range_of(self._ledger, request)
        block = await self._ledger.fingerprint(name, first, through)
        epoch = self._ledger.identity.ledger_epoch
        return pb.GetFingerprintResponse(
            through_index=through,
            count=block.count,
            fingerprint_hi=block.high,
            fingerprint_lo=block.low,
            gaps=bounds.ranges_of(name, await self._ledger.gaps(name), first, through),
            ledger_epoch=epoch if epoch != request.ledger_epoch else "",
        )

    async def ListBlocks(self, request: pb.ListBlocksRequest, _context: object) -> pb.ListBlocksResponse:
        """
        List the fingerprints of a partition's blocks. Every page goes to the position that the first one went to.
        """
        fields = Fields(request)
        fields.partition()
        fields.check()
        size = page_size(request, BLOCKS_DEFAULT, BLOCKS_MAX)
        name, (begin, through) = request.partition, bounds.place_of_blocks(page_place(request))
        through = bounds.through_of(self._ledger, name, through or request.through_index)
        end = begin + size
        last = min(through, end * BLOCK_POSITIONS)
        reply = pb.ListBlocksResponse(through_index=through, ledger_epoch=self._ledger.identity.ledger_epoch)
        if begin * BLOCK_POSITIONS < last:
            blocks = await self._ledger.blocks(name, begin * BLOCK_POSITIONS + 1, last)
            reply.blocks.extend(messages.block_message(block) for block in blocks)
        if last < through:
            reply.next_page_token = page_token(request, f"{end}/{through}")
        return reply

    async def SealPartition(self, request: pb.SealPartitionRequest, _context: object) -> pb.SealPartitionResponse:
        """
        Close a partition for good. Begun once, it is finished, whether the caller waits or not.
        """
        name = named(request)
        info, already_sealed = await self._undisturbed(self._ledger.seal(name, force=request.force))
        if not already_sealed:
            tell_sealed(info, "call")
        return pb.SealPartitionResponse(partition=messages.partition_message(info), already_sealed=already_sealed)

    async def VerifyPartition(
        self, request: pb.VerifyPartitionRequest, _context: object
    ) -> AsyncIterator[pb.VerifyPartitionResponse]:
        """
        Derive everything about a partition again from its bytes: progress now and then, at last the verdict.
        """
        name = named(request)
        told_s, untold = 0.0, None
        async with self._audits:
            async for item in self._ledger.verify(name):
                if isinstance(item, Verdict):
                    for found in item.faults:
                        self._alarm.fault(found)
                    if untold is not None:
                        yield untold
                    yield pb.VerifyPartitionResponse(verdict=messages.verdict_message(item))
                    continue
                untold = messages.progress_frame(item)
                if monotonic() - told_s >= PROGRESS_INTERVAL_S:
                    yield untold
                    told_s, untold = monotonic(), None

    async def ProveInclusion(self, request: pb.ProveInclusionRequest, _context: object) -> pb.ProveInclusionResponse:
        """
        Prove to a stranger that a sealed partition holds a signal.
        """
        fields = Fields(request)
        fields.signal_id()
        fields.check()
        async with self._audits:
            proof = await self._proof(request.signal_id)
        reply = pb.ProveInclusionResponse(
            partition=proof.partition,
            manifest_revision=proof.manifest_revision,
            merkle_root=proof.merkle_root,
            leaf_index=proof.leaf_index,
            tree_size=proof.tree_size,
            audit_path=proof.audit_path,
            payload=proof.payload,
        )
        event = decode(proof.payload)
        if reply.ByteSize() + item_bytes(event) <= RESPONSE_BYTES_MAX:
            reply.event.CopyFrom(event)
        return reply

    async def DumpFrames(self, request: pb.DumpFramesRequest, _context: object) -> pb.DumpFramesResponse:
        """
        Show frames as they lie on disk, damaged ones too.
        """
        name = named(request)
        bounds.within(self._ledger, name, request.after_index)
        wanted = min(request.max_frames or FRAMES_DEFAULT, FRAMES_MAX)
        frames = await self._ledger.frames(name, request.after_index, wanted + 1)
        reply = pb.DumpFramesResponse()
        room = ITEMS_BYTES_MAX
        for frame in frames:
            message = messages.frame_message(frame)
            room -= item_bytes(message)
            if reply.frames and (room < 0 or len(reply.frames) == wanted):
                reply.next_after_index = reply.frames[-1].ledger_index
                break
            reply.frames.append(message)
        return reply

    async def ConfirmReconciled(
        self, request: pb.ConfirmReconciledRequest, _context: object
    ) -> pb.ConfirmReconciledResponse:
        """
        Keep up to which position the reconciler has proven a partition complete.
        """
        fields = Fields(request)
        fields.partition()
        fields.text("ledger_epoch", 64)
        fields.require(request.verified_through > 0, "verified_through", "must be a position, from 1")
        fields.check()
        epoch = self._ledger.identity.ledger_epoch
        if request.ledger_epoch != epoch:
            raise fault(Reason.ERROR_REASON_LEDGER_EPOCH_CHANGED, metadata={"ledger_epoch": epoch})
        bounds.within(self._ledger, request.partition, request.verified_through)
        through = await self._undisturbed(self._ledger.confirm_reconciled(request.partition, request.verified_through))
        return pb.ConfirmReconciledResponse(reconciled_through=through)

    async def RunLifecycle(self, request: pb.RunLifecycleRequest, _context: object) -> pb.RunLifecycleResponse:
        """
        Move old partitions between the tiers, or say what would be moved.
        """
        steps = await self._undisturbed(self._ledger.run_lifecycle(dry_run=request.validate_only))
        return pb.RunLifecycleResponse(steps=messages.step_messages(steps, STEPS_MAX), step_count=len(steps))

    async def _proof(self, signal_id: str) -> Proof:
        name = await self._partition_of(signal_id)
        try:
            if name is not None and self._ledger.names().get(name):
                with suppress(RecordNotFound):  # Whoever said so may be wrong; then all of them are searched.
                    return await self._ledger.prove(signal_id, name)
            return await self._ledger.prove(signal_id)
        except RecordNotFound as error:
            if name is not None:
                raise PartitionNotSealed(name) from None
            raise fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, str(error), metadata={"signal_id": signal_id}) from None

    def _durable(self, name: str) -> tuple[int, int]:
        return self._ledger.durable_index(name), self._ledger.durable_offset

    async def _undisturbed(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """
        Finish *work* also when its caller goes away: half a seal is worse than one that nobody waits for.
        """
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._works.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("ledger_work_failed", error=type(error).__name__, text=str(error))


async def nowhere(_signal_id: str) -> str | None:
    """
    Know nothing of any signal.
    """
    return None


def named(request: PartitionRequest) -> str:
    """
    Return the partition that *request* is about, when nothing else in it can be wrong in itself.
    """
    fields = Fields(request)
    fields.partition()
    fields.check()
    return request.partition
