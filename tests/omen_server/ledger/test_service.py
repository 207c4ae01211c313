"""
LedgerService over real gRPC: partitions, watermarks, fingerprints.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from omen.v1 import ledger_service_pb2 as pb
from omen.v1.position_pb2 import BlockFingerprint, IndexRange
from omen_rpc.position import fold, position_hash
from tests.hosting import refusal
from tests.ledgers import (
    DAY,
    LATE,
    NEXT,
    NOON,
    TOMORROW,
    Served,
    entries,
    everything,
    flip,
    payload_byte,
    served,
    signal_id,
)

# What the seeds' manifests have, by name; the rest is ours.
SEED_KEYS = {
    "schema_version",
    "partition_date",
    "sealed_at",
    "total_records",
    "highwater_sequence",
    "manifest_revision",
    "is_late_partition",
    "segments",
}
BY_NAME: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
    "GetPartition": lambda stub, name: stub.GetPartition(pb.GetPartitionRequest(partition=name)),
    "ReadPartition": lambda stub, name: everything(stub.ReadPartition(pb.ReadPartitionRequest(partition=name))),
    "GetWatermark": lambda stub, name: stub.GetWatermark(pb.GetWatermarkRequest(partition=name)),
    "GetFingerprint": lambda stub, name: stub.GetFingerprint(pb.GetFingerprintRequest(partition=name)),
    "ListBlocks": lambda stub, name: stub.ListBlocks(pb.ListBlocksRequest(partition=name)),
    "SealPartition": lambda stub, name: stub.SealPartition(pb.SealPartitionRequest(partition=name)),
    "VerifyPartition": lambda stub, name: everything(stub.VerifyPartition(pb.VerifyPartitionRequest(partition=name))),
    "DumpFrames": lambda stub, name: stub.DumpFrames(pb.DumpFramesRequest(partition=name)),
    "ConfirmReconciled": lambda stub, name: stub.ConfirmReconciled(
        pb.ConfirmReconciledRequest(partition=name, verified_through=1, ledger_epoch="x")
    ),
}
NO_NAMES = [
    "",
    "../x",
    "2026-02-30",
    "2026-01-28-late-late",
    "2026-1-28",
    "2026-01-28/..",
    "\uff12026-01-28",
    "0000-01-01",
]


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("method", BY_NAME)
async def test_a_name_that_is_none_is_refused(place: Path, method: str, name: str) -> None:
    """
    Whatever is no real date never becomes part of a path, and the caller is told which field it was.
    """
    async with served(place) as at:
        error = await refusal(BY_NAME[method](at.stub, name))
        assert error.reason == "INVALID_FIELDS"
        assert [each.field for each in error.violations] == ["partition"]


@pytest.mark.parametrize("method", sorted(BY_NAME.keys() - {"ConfirmReconciled"}))
async def test_a_partition_that_is_not_there(place: Path, method: str) -> None:
    """
    A good name of nothing is NOT_FOUND, and named.
    """
    async with served(place) as at:
        error = await refusal(BY_NAME[method](at.stub, "2020-02-29-late"))
        assert error.reason == "PARTITION_NOT_FOUND"
        assert error.metadata == {"partition": "2020-02-29-late"}


async def fill(at: Served, days: int) -> list[str]:
    """
    Append one record to each of some days before the demo day, and return the days' names.
    """
    moments = [NOON - timedelta(days=back) for back in range(days)]
    for number, moment in enumerate(moments):
        await at.ledger.append(entries([number], moment))
    return [moment.date().isoformat() for moment in moments]


async def test_partitions_page_by_page(place: Path) -> None:
    """
    Pages hold what was asked for, newest first or oldest first, and together every partition once.
    """
    async with served(place) as at:
        days = await fill(at, 7)
        for order, expected in (
            (pb.PARTITION_ORDER_UNSPECIFIED, days),
            (pb.PARTITION_ORDER_DATE_DESCENDING, days),
            (pb.PARTITION_ORDER_DATE_ASCENDING, days[::-1]),
        ):
            request = pb.ListPartitionsRequest(order=order, page_size=3)
            found: list[str] = []
            sizes: list[int] = []
            while not sizes or request.page_token:
                page = await at.stub.ListPartitions(request)
                found += [each.partition for each in page.partitions]
                sizes.append(len(page.partitions))
                request.page_token = page.next_page_token
            assert (found, sizes) == (expected, [3, 3, 1])


async def test_partitions_by_filter(place: Path) -> None:
    """
    Open, sealed and late are what they say, and a late partition may be open or sealed.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1, 2]))
        at.clock.now = TOMORROW
        await at.client.seal(DAY)
        await at.ledger.append(entries([3], NOON))
        await at.ledger.append(entries([4], TOMORROW))

        async def listed(which: Any) -> list[str]:
            return [each.partition async for each in at.client.partitions(which)]

        assert await listed("all") == [NEXT, LATE, DAY]
        assert await listed("open") == [NEXT, LATE]
        assert await listed("sealed") == [DAY]
        assert await listed("late") == [LATE]


@pytest.mark.parametrize(
    "change",
    [
        {"filter": pb.PARTITION_FILTER_OPEN},
        {"order": pb.PARTITION_ORDER_DATE_ASCENDING},
        {"page_token": "x"},
        {"page_token": "AAAAAAAAAAAAAAAAAAAAAAAA"},
        {"page_token": "é"},
        {"page_token": "A" * 5000},
    ],
)
async def test_a_token_belongs_to_its_list(place: Path, change: dict[str, Any]) -> None:
    """
    A page token under other arguments, or made up, is PAGE_TOKEN_INVALID; under another page size it is good.
    """
    async with served(place) as at:
        await fill(at, 3)
        first = await at.stub.ListPartitions(pb.ListPartitionsRequest(page_size=1))
        good = {"page_size": 2, "page_token": first.next_page_token}
        assert len((await at.stub.ListPartitions(pb.ListPartitionsRequest(**good))).partitions) == 2  # type: ignore[arg-type]
        bad: dict[str, Any] = {**good, **change}
        error = await refusal(at.stub.ListPartitions(pb.ListPartitionsRequest(**bad)))
        assert error.reason == "PAGE_TOKEN_INVALID"


async def test_bad_arguments_of_a_list(place: Path) -> None:
    """
    All that is wrong with a request is told at once, by field.
    """
    async with served(place) as at:
        request = pb.ListPartitionsRequest(filter=9, order=9)  # type: ignore[arg-type]
        error = await refusal(at.stub.ListPartitions(request))
        assert [each.field for each in error.violations] == ["filter", "order"]
        for call in (
            at.stub.ListPartitions(pb.ListPartitionsRequest(page_size=-1)),
            at.stub.ListBlocks(pb.ListBlocksRequest(partition=DAY, page_size=-1)),
        ):
            assert [each.field for each in (await refusal(call)).violations] == ["page_size"]


async def test_one_partition_with_its_manifest(place: Path) -> None:
    """
    A sealed partition comes with the manifest as the file has it, which has the seeds' keys and the root.
    """
    async with served(place, segment_records_max=4) as at:
        await at.ledger.append(entries(range(10)))
        before = await at.client.partition(DAY)
        assert (before.manifest_json, before.partition.is_sealed) == ("", False)
        assert before.partition.state == pb.PARTITION_STATE_OPEN
        at.clock.now = TOMORROW
        await at.client.seal(DAY)
        after = await at.client.partition(DAY)
        manifest = json.loads(after.manifest_json)
        assert after.manifest_json == (place / DAY / "_manifest.json").read_text()
        assert manifest.keys() >= SEED_KEYS
        assert manifest["segments"][0].keys() >= {"file", "record_count", "size_bytes", "checksum"}
        assert (manifest["total_records"], manifest["highwater_sequence"]) == (10, 10)
        partition = after.partition
        assert (partition.partition_date, partition.total_records, partition.highwater_sequence) == (DAY, 10, 10)
        assert (partition.segment_count, len(partition.segments)) == (3, 3)
        assert partition.merkle_root == manifest["merkle_root"]
        assert partition.last_ledger_sequence == (3 << 32) + 2
        assert partition.sealed_at.ToDatetime() == TOMORROW.replace(tzinfo=None)
        assert (partition.state, partition.manifest_revision) == (pb.PARTITION_STATE_SEALED, 1)
        assert all(segment.sealed and segment.checksum.startswith("crc32:") for segment in partition.segments)


async def test_distinct_signals_are_counted(place: Path) -> None:
    """
    Records count frames, distinct ids count signals.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1, 2, 2, 3, 1]))
        partition = (await at.client.partition(DAY)).partition
        assert (partition.total_records, partition.distinct_signal_ids) == (5, 3)


async def test_watermark_without_a_hot_path(place: Path) -> None:
    """
    While nothing is pushed, everything durable is settled.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(5)))
        await at.ledger.append(entries([9], NOON - timedelta(days=1)))
        mark = await at.client.watermark(DAY)
        assert (mark.durable_highwater, mark.settled_index) == (5, 5)
        assert (mark.durable_offset, mark.settled_offset) == (6, 6)
        assert mark.ledger_epoch == at.ledger.identity.ledger_epoch
        assert mark.ledger_id == at.ledger.identity.ledger_id
        assert not mark.is_sealed


async def test_watermark_behind_a_hot_path(place: Path) -> None:
    """
    What the hot path has settled is what the watermark says, and never more than is durable.
    """
    settled = {DAY: (3, 3)}
    async with served(place, settled=settled.__getitem__) as at:
        await at.ledger.append(entries(range(5)))
        mark = await at.client.watermark(DAY)
        assert (mark.durable_highwater, mark.settled_index, mark.settled_offset) == (5, 3, 3)
        settled[DAY] = (99, 99)
        assert (await at.client.watermark(DAY)).settled_index == 5


def fingerprint_of(events: list[Any]) -> tuple[int, int]:
    """
    Return the fingerprint that the other side would compute.
    """
    return fold(
        position_hash(each.ledger_partition, each.ledger_index, each.signal_id, each.content_digest) for each in events
    )


@pytest.mark.parametrize(("first", "through"), [(0, 0), (1, 1), (1, 2100), (1000, 1030), (1025, 2048), (2100, 2100)])
async def test_fingerprints_are_what_the_other_side_computes(place: Path, first: int, through: int) -> None:
    """
    The fingerprint of any range is the XOR of the position hashes of the records that a reader gets. The epoch is told
    to whoever does not name it.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(2100)))
        reply = await at.client.fingerprint(DAY, first, through)
        events = [each async for each in at.client.read_partition(DAY)]
        wanted = events[max(first, 1) - 1 : through or 2100]
        assert (reply.fingerprint_hi, reply.fingerprint_lo) == fingerprint_of(wanted)
        assert (reply.count, reply.through_index) == (len(wanted), through or 2100)
        epoch = at.ledger.identity.ledger_epoch
        told = [await at.client.fingerprint(DAY, first, through, ledger_epoch=each) for each in ("another", epoch)]
        assert [reply.ledger_epoch, *(each.ledger_epoch for each in told)] == [epoch, epoch, ""]


async def test_blocks_fold_to_the_fingerprint(place: Path) -> None:
    """
    Pages of blocks together give the fingerprint; all go to the position of the first, also while records arrive.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(2100)))
        whole = await at.client.fingerprint(DAY)
        request = pb.ListBlocksRequest(partition=DAY, page_size=1)
        blocks: list[BlockFingerprint] = []
        while not blocks or request.page_token:
            page = await at.stub.ListBlocks(request)
            assert (len(page.blocks), page.through_index) == (1, 2100)
            blocks += page.blocks
            request.page_token = page.next_page_token
            await at.ledger.append(entries([7]))
        assert [(each.block, each.count) for each in blocks] == [(0, 1024), (1, 1024), (2, 52)]
        halves = fold((each.fingerprint_hi, each.fingerprint_lo) for each in blocks)
        assert halves == (whole.fingerprint_hi, whole.fingerprint_lo)
        cut = [each async for each in at.client.blocks(DAY, 1030)]
        assert [(each.block, each.count) for each in cut] == [(0, 1024), (1, 6)]
        assert cut[0] == blocks[0]


async def test_a_token_of_blocks_belongs_to_its_position(place: Path) -> None:
    """
    A token for one position is refused with another.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(1100)))
        page = await at.stub.ListBlocks(pb.ListBlocksRequest(partition=DAY, page_size=1))
        request = pb.ListBlocksRequest(partition=DAY, through_index=1050, page_token=page.next_page_token)
        assert (await refusal(at.stub.ListBlocks(request))).reason == "PAGE_TOKEN_INVALID"


async def test_positions_beyond_the_end(place: Path) -> None:
    """
    A position that is not there yet is OUT_OF_RANGE with the one that is; a range that runs backwards is the caller's.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(5)))
        for call in (
            at.stub.GetFingerprint(pb.GetFingerprintRequest(partition=DAY, through_index=6)),
            at.stub.GetFingerprint(pb.GetFingerprintRequest(partition=DAY, from_index=7)),
            at.stub.ListBlocks(pb.ListBlocksRequest(partition=DAY, through_index=6)),
            at.stub.DumpFrames(pb.DumpFramesRequest(partition=DAY, after_index=6)),
        ):
            error = await refusal(call)
            assert error.reason == "POSITION_OUT_OF_RANGE"
            assert error.metadata["position_max"] == "5"
        backwards = pb.GetFingerprintRequest(partition=DAY, from_index=4, through_index=3)
        assert (await refusal(at.stub.GetFingerprint(backwards))).reason == "INVALID_FIELDS"


async def test_a_gap_is_left_out_and_named(place: Path) -> None:
    """
    A damaged record is a named gap in watermark and fingerprint, and the rest of the fingerprint is exact.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(6)))
    flip(place / DAY / "signals-001.wal", payload_byte(place / DAY / "signals-001.wal", 2))
    async with served(place) as at:
        mark = await at.client.watermark(DAY)
        assert list(mark.gaps) == [IndexRange(first=3, last=3)]
        assert mark.durable_highwater == 6
        reply = await at.client.fingerprint(DAY)
        events = [each async for each in at.client.read_partition(DAY, indexes=[1, 2, 4, 5, 6])]
        assert (reply.fingerprint_hi, reply.fingerprint_lo) == fingerprint_of(events)
        assert (reply.count, list(reply.gaps)) == (5, [IndexRange(first=3, last=3)])
        assert list((await at.client.fingerprint(DAY, 4, 6)).gaps) == []
        one = await at.client.partition(DAY)
        assert (one.partition.corrupt_count, one.gap_count) == (1, 1)
        assert (one.gaps[0].first_index, one.gaps[0].file) == (3, "signals-001.wal")


async def test_records_of_both_kinds_are_one_partition(place: Path) -> None:
    """
    JSON and protobuf records lie side by side and read the same.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1]) + entries([2], kind="protobuf"))
        events = await everything(at.client.read_partition(DAY, validate=True))
        assert [each.signal_id for each in events] == [signal_id(1), signal_id(2)]
        assert all(each.HasField("signal") and each.signal.HasField("probability") for each in events)
