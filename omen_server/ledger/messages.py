"""
What the engine says, in the words of the contract.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import ledger_service_pb2 as pb
from omen.v1.position_pb2 import BlockFingerprint, IndexRange, LedgerGap

from .audit import Fault, Progress, Verdict
from .catalogue import PartitionInfo
from .fingerprint import Block
from .frames import RawFrame
from .lifecycle import Step
from .partition import Gap

SEGMENTS_MAX = 1000


def partition_message(info: PartitionInfo) -> pb.Partition:
    """
    Return a partition.
    """
    message = pb.Partition(
        partition=info.partition,
        partition_date=info.partition_date,
        state=pb.PartitionState.Value(f"PARTITION_STATE_{info.state}"),
        is_sealed=info.is_sealed,
        is_late=info.is_late,
        total_records=info.total_records,
        highwater_sequence=info.total_records,
        last_ledger_sequence=info.last_sequence,
        first_offset=info.first_offset,
        last_offset=info.last_offset,
        distinct_signal_ids=info.distinct_signal_ids,
        corrupt_count=info.corrupt_count,
        segments=[
            pb.Segment(
                file=segment.file,
                record_count=segment.record_count,
                size_bytes=segment.size_bytes,
                checksum=segment.checksum,
                sha256=segment.sha256,
                sealed=segment.sealed,
            )
            for segment in info.segments[:SEGMENTS_MAX]
        ],
        segment_count=len(info.segments),
        manifest_revision=info.manifest_revision,
        merkle_root=info.merkle_root,
        reconciled_through=info.reconciled_through,
        size_bytes=info.size_bytes,
    )
    if info.sealed_at:
        sealed_at = Timestamp()
        sealed_at.FromJsonString(info.sealed_at)
        message.sealed_at.CopyFrom(sealed_at)
    return message


def gap_message(gap: Gap) -> LedgerGap:
    """
    Return a gap.
    """
    return LedgerGap(
        partition=gap.partition,
        first_index=gap.first_index,
        last_index=gap.last_index,
        first_sequence=gap.first_sequence,
        last_sequence=gap.last_sequence,
        first_offset=gap.first_offset,
        last_offset=gap.last_offset,
        file=gap.file,
        byte_offset=gap.byte_offset,
        reason=gap.reason,
    )


def index_ranges(gaps: Iterable[Gap], first: int, last: int) -> Iterator[IndexRange]:
    """
    Yield the positions in *gaps* from *first* to *last*, neighbours joined.
    """
    begin = end = 0
    for gap in sorted(gaps, key=lambda gap: gap.first_index):
        low, high = max(gap.first_index, first), min(gap.last_index, last)
        if low > high:
            continue
        if begin and low <= end + 1:
            end = max(end, high)
            continue
        if begin:
            yield IndexRange(first=begin, last=end)
        begin, end = low, high
    if begin:
        yield IndexRange(first=begin, last=end)


def block_message(block: Block) -> BlockFingerprint:
    """
    Return a block's fingerprint.
    """
    return BlockFingerprint(block=block.block, count=block.count, fingerprint_hi=block.high, fingerprint_lo=block.low)


def fault_message(fault: Fault) -> pb.LedgerFault:
    """
    Return what is wrong, and exactly where.
    """
    return pb.LedgerFault(
        kind=fault.kind,
        partition=fault.partition,
        ledger_sequence=fault.sequence,
        ledger_index=fault.index,
        file=fault.file,
        byte_offset=fault.byte_offset,
        reason=fault.reason,
    )


def progress_frame(progress: Progress) -> pb.VerifyPartitionResponse:
    """
    Return how far a verification is.
    """
    return pb.VerifyPartitionResponse(
        progress=pb.VerifyPartitionResponse.Progress(
            records_done=progress.records_done,
            records_total=progress.records_total,
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
        )
    )


def verdict_message(verdict: Verdict) -> pb.VerifyPartitionResponse.Verdict:
    """
    Return what a verification found.
    """
    return pb.VerifyPartitionResponse.Verdict(
        intact=verdict.intact,
        partition=verdict.partition,
        record_count=verdict.record_count,
        merkle_root=verdict.merkle_root,
        faults=[fault_message(fault) for fault in verdict.faults],
        fault_count=verdict.fault_count,
        not_proven=verdict.not_proven,
    )


def frame_message(frame: RawFrame) -> pb.RawFrame:
    """
    Return a frame as it lies on disk.
    """
    return pb.RawFrame(
        file=frame.file,
        byte_offset=frame.byte_offset,
        header=frame.header,
        payload=frame.payload,
        checksum_matches=frame.checksum_matches,
        ledger_sequence=frame.sequence,
        ledger_index=frame.index,
    )


def step_messages(steps: Sequence[Step], count_max: int) -> Iterator[pb.RunLifecycleResponse.LifecycleStep]:
    """
    Yield what the lifecycle did, at most *count_max* steps of it.
    """
    for step in islice(steps, count_max):
        yield pb.RunLifecycleResponse.LifecycleStep(
            partition=step.partition,
            action=pb.LifecycleAction.Value(f"LIFECYCLE_ACTION_{step.action}"),
            bytes_before=step.bytes_before,
            bytes_after=step.bytes_after,
            detail=step.detail,
        )
