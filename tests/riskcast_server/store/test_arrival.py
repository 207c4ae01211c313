from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import SignalEvent
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast_server.store import INDEX_MAX, Arrival
from riskcast_server.store.limits import AckDraw

HOT_PATH = pb.INGEST_ORIGIN_HOT_PATH
DIGEST = "sha256:" + "a" * 64


def event(**more: object) -> SignalEvent:
    """
    Return a signal at a position.
    """
    at = Timestamp(seconds=1_769_558_400, nanos=123_456_789)
    whole = {"signal_id": "OMEN-TEST", "emitted_at": at, "ledger_partition": "2026-01-28", "ledger_index": 7}
    return SignalEvent(**{**whole, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "origin", "request_id", "why"),
    [
        ({"ledger_index": INDEX_MAX + 1}, HOT_PATH, "", "above"),
        ({"ledger_sequence": INDEX_MAX + 1}, HOT_PATH, "", "above"),
        ({"emitted_at": Timestamp(seconds=253_402_300_800)}, HOT_PATH, "", "years"),
        ({"emitted_at": Timestamp(seconds=-62_135_596_801)}, HOT_PATH, "", "years"),
        ({"emitted_at": Timestamp(nanos=-1)}, HOT_PATH, "", "years"),
        ({"emitted_at": Timestamp(nanos=1_000_000_000)}, HOT_PATH, "", "years"),
        ({"signal_id": "OMEN\0"}, HOT_PATH, "", "NUL"),
        ({"deterministic_trace_id": "\0"}, HOT_PATH, "", "NUL"),
        ({"ledger_partition": "\0"}, HOT_PATH, "", "NUL"),
        ({}, HOT_PATH, "\0", "NUL"),
        ({}, 99, "", "origin 99"),
    ],
)
def test_what_no_row_can_hold_is_refused(
    more: dict[str, object], origin: pb.IngestOrigin.ValueType, request_id: str, why: str
) -> None:
    """
    What would fail the transaction of everybody it shares it with does not become an arrival.
    """
    with pytest.raises(ValueError, match=why):
        Arrival.of(event(**more), DIGEST, origin, request_id)


def test_an_arrival_says_what_its_row_will() -> None:
    """
    Times to the microsecond, the UTC date, the position, and the bytes as they came.
    """
    arrival = Arrival.of(event(), DIGEST, HOT_PATH, "request")
    assert (arrival.emitted_at_us, arrival.partition_date) == (1_769_558_400_123_456, "2026-01-28")
    assert arrival.position == ("2026-01-28", 7)
    assert arrival.signal_data == event().SerializeToString()
    assert Arrival.of(event(), DIGEST, HOT_PATH, data=b"given").signal_data == b"given"


@pytest.mark.parametrize(
    ("more", "origin"),
    [
        ({"ledger_index": 0}, HOT_PATH),
        ({"ledger_partition": ""}, HOT_PATH),
        ({}, pb.INGEST_ORIGIN_DIRECT),
    ],
)
def test_half_a_position_is_none(more: dict[str, object], origin: pb.IngestOrigin.ValueType) -> None:
    """
    Without a partition or an index there is no position, nor for whoever is not OMEN.
    """
    arrival = Arrival.of(event(**more), DIGEST, origin)
    assert arrival.position is None
    assert (arrival.ledger_partition, arrival.ledger_index) == ("", 0)


def test_no_ack_is_drawn_twice() -> None:
    """
    Acks ascend without one coming again, however many are drawn at once, also while the clock stands or goes back.
    """
    start = datetime(2026, 1, 28, tzinfo=UTC)
    times = iter(
        [start, start, start - timedelta(days=1), start + timedelta(milliseconds=1), start + timedelta(days=1)]
    )
    draw = AckDraw(lambda: next(times))
    acks = [ack for count in (3, 1, 2_000_000, 5, 2) for ack in draw(count)]
    assert len(set(acks)) == len(acks)
    assert acks == sorted(acks)
