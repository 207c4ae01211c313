"""
Reading a partition over real gRPC: every record once and in order, every gap named, every message small.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from omen.v1 import ledger_service_pb2 as pb
from omen_rpc.signal_codec import content_digest, decode
from omen_server.ledger import bounds, messages, service
from omen_server.ledger.format import HEADER_BYTES, encode_frame
from omen_server.ledger.partition import Gap
from tests.hosting import refusal
from tests.ledgers import (
    DAY,
    LATE,
    NOON,
    RESPONSE_BYTES_MAX,
    TOMORROW,
    Clock,
    Served,
    entries,
    everything,
    flip,
    frames_of,
    opened,
    payload_byte,
    served,
    signal_id,
)

SEGMENT = "signals-001.wal"
HUGE = 250_000


async def read(at: Served, **asked: Any) -> list[pb.ReadPartitionResponse]:
    """
    Return every frame of a read, each of which must keep to the limit of a message.
    """
    frames = await everything(at.stub.ReadPartition(pb.ReadPartitionRequest(partition=DAY, **asked)))
    assert max(frame.ByteSize() for frame in frames) <= RESPONSE_BYTES_MAX
    assert [frame.HasField("end") for frame in frames] == [False] * (len(frames) - 1) + [True]
    return frames


def indexes(frames: list[pb.ReadPartitionResponse]) -> list[int]:
    """
    Return the positions of the records in some frames.
    """
    return [event.ledger_index for frame in frames for event in frame.batch.events]


async def test_all_of_a_partition(place: Path) -> None:
    """
    A read gives every record once, in order, over segments and batches, and its last frame counts them.
    """
    async with served(place, segment_records_max=90) as at:
        await at.ledger.append(entries(range(1000)))
        frames = await read(at)
        assert indexes(frames) == list(range(1, 1001))
        assert [len(frame.batch.events) for frame in frames[:-1]] == [100] * 10
        assert (frames[-1].end.through_index, frames[-1].end.record_count, frames[-1].end.gap_count) == (1000, 1000, 0)
        first = frames[0].batch.events[0]
        assert (first.ledger_sequence, first.ledger_offset, first.ledger_partition) == (4294967297, 1, DAY)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"after_index": 7}, range(8, 11)),
        ({"through_index": 3}, range(1, 4)),
        ({"after_index": 2, "through_index": 5}, range(3, 6)),
        ({"after_index": 5, "through_index": 5}, []),
        ({"after_index": 10}, []),
        ({"indexes": [1]}, [1]),
        ({"indexes": [2, 5, 10]}, [2, 5, 10]),
    ],
)
async def test_a_part_of_a_partition(place: Path, asked: dict[str, Any], expected: Any) -> None:
    """
    A range or a list of positions gives exactly these records.
    """
    async with served(place, segment_records_max=4) as at:
        await at.ledger.append(entries(range(10)))
        frames = await read(at, **asked)
        assert indexes(frames) == list(expected)
        assert frames[-1].end.record_count == len(list(expected))


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"max_batch": 501}, ["max_batch"]),
        ({"indexes": [2, 2]}, ["indexes[1]"]),
        ({"indexes": [3, 2]}, ["indexes[1]"]),
        ({"indexes": [0]}, ["indexes[0]"]),
        ({"indexes": [1], "after_index": 1}, ["indexes"]),
        ({"after_index": 3, "through_index": 2}, ["after_index"]),
        ({"indexes": [1] * 10_001}, ["indexes"]),
    ],
)
async def test_what_cannot_be_read(place: Path, asked: dict[str, Any], fields: list[str]) -> None:
    """
    A request that contradicts itself or asks for too much is refused by field, before anything is read.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(5)))
        error = await refusal(read(at, **asked))
        assert [each.field for each in error.violations] == fields


async def test_a_million_positions_are_counted_and_not_looked_at(place: Path) -> None:
    """
    A list as long as a message allows costs its parsing and one violation.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1]))
        error = await refusal(read(at, indexes=[0] * 1_000_000))
        assert error.violations[0].description == f"holds 1000000; at most {bounds.INDEXES_MAX} may be"


@pytest.mark.parametrize("asked", [{"after_index": 6}, {"through_index": 6}, {"indexes": [1, 6]}])
async def test_beyond_the_end(place: Path, asked: dict[str, Any]) -> None:
    """
    A position that is not durable yet is OUT_OF_RANGE with the last one that is.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(5)))
        error = await refusal(read(at, **asked))
        assert (error.reason, error.metadata["position_max"]) == ("POSITION_OUT_OF_RANGE", "5")


async def test_messages_are_cut_by_bytes(place: Path) -> None:
    """
    Signals of a quarter of a mebibyte go a few to a message, small ones as many as were asked for; all of them arrive.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(10), description="x" * HUGE) + entries(range(10, 1200)))
        frames = await read(at, max_batch=500)
        assert indexes(frames) == list(range(1, 1201))
        assert len(frames[0].batch.events) == 4
        assert max(len(frame.batch.events) for frame in frames) == 500


async def test_every_other_reply_is_cut_by_bytes(place: Path) -> None:
    """
    Frames, proofs and partitions of the largest signals keep to the limit too, and frames go on where they stopped.
    """
    async with served(place, Clock(TOMORROW), segment_bytes_max=HUGE) as at:
        await at.ledger.append(entries(range(12), description="x" * HUGE))
        found: list[int] = []
        after = 0
        while not found or after:
            dumped = await at.client.frames(DAY, after_index=after, max_frames=100)
            assert dumped.ByteSize() <= RESPONSE_BYTES_MAX
            found += [frame.ledger_index for frame in dumped.frames]
            after = dumped.next_after_index
        assert found == list(range(1, 13))
        await at.client.seal(DAY)
        assert (await at.client.prove(signal_id(3))).ByteSize() <= RESPONSE_BYTES_MAX


async def test_a_partition_of_too_many_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where a message has no room for every file or the manifest, it holds what it can and the count; pages list all.
    """
    monkeypatch.setattr(messages, "SEGMENTS_MAX", 5)
    monkeypatch.setattr(service, "RESPONSE_BYTES_MAX", 3000)
    monkeypatch.setattr(service, "ITEMS_BYTES_MAX", 2000)
    async with served(place, Clock(TOMORROW), segment_records_max=1) as at:
        for day, count in enumerate((12, 7, 7)):
            await at.ledger.append(entries(range(count), NOON - timedelta(days=day)))
            await at.client.seal((NOON - timedelta(days=day)).date().isoformat())
        one = await at.client.partition(DAY)
        assert (one.partition.segment_count, len(one.partition.segments)) == (12, 5)
        assert (one.manifest_json, one.ByteSize() <= 3000) == ("", True)
        request = pb.ListPartitionsRequest()
        counts: list[int] = []
        while not counts or request.page_token:
            page = await at.stub.ListPartitions(request)
            assert page.ByteSize() <= 2100
            counts.append(len(page.partitions))
            request.page_token = page.next_page_token
        assert (sum(counts), len(counts) > 1) == (3, True)


async def test_late_arrivals_follow(place: Path) -> None:
    """
    With include_late the day's late records come behind its own; without it they do not.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries(range(3)))
        await at.client.seal(DAY)
        await at.ledger.append(entries([8, 9]))
        assert len(indexes(await read(at))) == 3
        frames = await read(at, include_late=True, after_index=1)
        events = [event for frame in frames for event in frame.batch.events]
        assert [each.ledger_partition for each in events] == [DAY, DAY, LATE, LATE]
        assert (frames[-1].end.through_index, frames[-1].end.record_count) == (3, 4)
        late = await everything(at.client.read_partition(LATE, include_late=True))
        assert [each.signal_id for each in late] == [signal_id(8), signal_id(9)]


async def test_damage_costs_its_record_and_is_named(place: Path) -> None:
    """
    A flipped bit in a length leaves a gap with its exact place, and everything around it is read.
    """
    async with opened(place) as ledger:
        await ledger.append(entries(range(10)))
    start = list(frames_of(place / DAY / SEGMENT))[4][0]
    flip(place / DAY / SEGMENT, start + 2, 5)
    async with served(place) as at:
        frames = await read(at)
        assert indexes(frames) == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        [gap] = [frame.gap for frame in frames if frame.HasField("gap")]
        assert (gap.partition, gap.first_index, gap.last_index) == (DAY, 5, 5)
        assert (gap.file, gap.byte_offset, gap.first_sequence) == (SEGMENT, start, (1 << 32) + 5)
        assert (frames[-1].end.record_count, frames[-1].end.gap_count) == (9, 1)
        only = await read(at, indexes=[4, 5, 6])
        assert (indexes(only), only[-1].end.gap_count) == ([4, 6], 1)
        before = await read(at, through_index=4)
        assert before[-1].end.gap_count == 0


def forge(path: Path, rank: int) -> None:
    """
    Change the title of a segment's n-th record and make its checksum fit again, as somebody who means harm would.
    """
    start, length = list(frames_of(path))[rank]
    flip(path, payload_byte(path, rank))
    data = path.read_bytes()
    frame = encode_frame(data[start + HEADER_BYTES : start + HEADER_BYTES + length])
    path.write_bytes(data[:start] + frame + data[start + len(frame) :])


async def test_a_forged_record_is_found_when_asked(place: Path) -> None:
    """
    Content that its digest was not made of passes a checksum, and is a named gap for whoever asks to validate.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(4)))
        forge(place / DAY / SEGMENT, 2)
        assert indexes(await read(at)) == [1, 2, 3, 4]
        frames = await read(at, validate=True)
        assert indexes(frames) == [1, 2, 4]
        [gap] = [frame.gap for frame in frames if frame.HasField("gap")]
        assert (gap.first_index, gap.reason) == (3, "The content is not the one that its digest was made of")
        assert gap.byte_offset == list(frames_of(place / DAY / SEGMENT))[2][0]


async def test_a_frame_that_holds_no_signal(place: Path) -> None:
    """
    A frame with a position and a checksum that fit, and JSON that does not decode, is a gap and not an error.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(3)))
        path = place / DAY / SEGMENT
        data = path.read_bytes()
        start, length = list(frames_of(path))[1]
        payload = data[start + HEADER_BYTES : start + HEADER_BYTES + length]
        broken = encode_frame(payload.replace(b'"probability":0.0', b'"probability":0.x'))
        path.write_bytes(data[:start] + broken + data[start + len(broken) :])
        frames = await read(at)
        assert indexes(frames) == [1, 3]
        assert "no signal" in next(frame.gap.reason for frame in frames if frame.HasField("gap"))


async def test_records_arrive_as_they_were_sent(place: Path) -> None:
    """
    What is read decodes to what was appended, with the digest that anyone can recompute.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1, 2]))
        for got in await everything(at.client.read_partition(DAY)):
            assert got.content_digest == content_digest(got)
        frames = (await at.client.frames(DAY)).frames
        assert [decode(frame.payload).signal_id for frame in frames] == [signal_id(1), signal_id(2)]


async def test_a_read_ends_where_it_began(place: Path) -> None:
    """
    Records that arrive during a read are not in it: the end is fixed when it starts.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(600)))
        count = 0
        call = at.stub.ReadPartition(pb.ReadPartitionRequest(partition=DAY, max_batch=10))
        async for frame in call:
            count += len(frame.batch.events)
            if count == 10:
                await at.ledger.append(entries(range(600, 700)))
        assert count == 600


async def test_frames_show_damage(place: Path) -> None:
    """
    A dump shows the eight header bytes of every frame, and of a damaged one the bytes that lie there.
    """
    async with opened(place) as ledger:
        await ledger.append(entries(range(3)))
    flip(place / DAY / SEGMENT, payload_byte(place / DAY / SEGMENT, 1))
    async with served(place) as at:
        frames = (await at.client.frames(DAY)).frames
        data = (place / DAY / SEGMENT).read_bytes()
        assert [frame.checksum_matches for frame in frames] == [True, False, True]
        for frame in frames:
            assert frame.header + frame.payload == data[frame.byte_offset :][: 8 + len(frame.payload)]
        assert [frame.ledger_index for frame in frames] == [1, 2, 3]
        assert frames[0].header == len(frames[0].payload).to_bytes(4, "big") + frames[0].header[4:]


async def test_frames_page_by_page(place: Path) -> None:
    """
    A dump stops at what was asked for and says where to go on, 0 at the end.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(45)))
        first = await at.client.frames(DAY)
        assert (len(first.frames), first.next_after_index) == (20, 20)
        last = await at.client.frames(DAY, after_index=20, max_frames=5000)
        assert (len(last.frames), last.next_after_index) == (25, 0)
        assert (await at.client.frames(DAY, after_index=45)).next_after_index == 0


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, 3),
        ({"after_index": 4}, 2),
        ({"through_index": 4}, 1),
        ({"after_index": 4, "through_index": 5}, 1),
        ({"after_index": 6}, 0),
        ({"indexes": [1, 4, 6]}, 2),
    ],
)
async def test_lost_positions_are_counted_as_far_as_asked(place: Path, asked: dict[str, Any], count: int) -> None:
    """
    Three records lost in a row are one gap; the last frame counts those of them that were asked for.
    """
    async with opened(place) as ledger:
        await ledger.append(entries(range(10)))
    for byte in [payload_byte(place / DAY / SEGMENT, rank) for rank in (3, 4, 5)]:
        flip(place / DAY / SEGMENT, byte)
    async with served(place) as at:
        frames = await read(at, **asked)
        assert frames[-1].end.gap_count == count
        assert sum(frame.HasField("gap") for frame in frames) == (count > 0)


def test_ranges_are_joined_and_cut() -> None:
    """
    Neighbouring and overlapping gaps are one range, and a range ends where the request does.
    """

    def gap(first: int, last: int) -> Gap:
        return Gap(DAY, first, last, 0, 0, 0, 0, "", 0, "")

    def ranges(*gaps: Gap, first: int = 1, last: int = 100) -> list[tuple[int, int]]:
        return [(each.first, each.last) for each in messages.index_ranges(gaps, first, last)]

    assert ranges(gap(8, 9), gap(3, 4), gap(5, 5)) == [(3, 5), (8, 9)]
    assert ranges(gap(3, 7), gap(4, 5)) == [(3, 7)]
    assert ranges(gap(3, 7), gap(90, 200), first=5) == [(5, 7), (90, 100)]
    assert ranges(gap(3, 7), first=8) == []
