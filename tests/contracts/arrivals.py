"""
Arrivals for tests of the store.
"""

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import content_digest
from riskcast.v1 import ingest_service_pb2
from riskcast.v1.ingest_service_pb2 import IngestOrigin
from riskcast_server.store import Arrival

UNSPECIFIED = ingest_service_pb2.INGEST_ORIGIN_UNSPECIFIED
HOT_PATH = ingest_service_pb2.INGEST_ORIGIN_HOT_PATH
RECONCILE = ingest_service_pb2.INGEST_ORIGIN_RECONCILE
DIRECT = ingest_service_pb2.INGEST_ORIGIN_DIRECT

DAY = "2026-01-28"
_DAY_S = 1_769_558_400


def signal_id(number: int) -> str:
    """
    Return the id of a test's signal.
    """
    return f"OMEN-{number:08d}"


def arrival(
    number: int,
    index: int = 0,
    *,
    partition: str = DAY,
    title: str = "A canal closes",
    origin: IngestOrigin.ValueType = HOT_PATH,
    request_id: str = "",
    emitted_at_s: int = _DAY_S,
) -> Arrival:
    """
    Return signal *number* as it comes from position *index*, or from none.
    """
    event = SignalEvent(
        schema_version="1.0.0",
        signal_id=signal_id(number),
        deterministic_trace_id=f"{number:016x}",
        ledger_partition=partition if index else "",
        ledger_sequence=1 << 32 | index if index else 0,
        ledger_index=index,
    )
    event.emitted_at.seconds = emitted_at_s
    event.signal.signal_id = event.signal_id
    event.signal.title = title
    event.content_digest = content_digest(event)
    return Arrival.of(event, event.content_digest, origin, request_id)


def run(first: int, last: int, *, partition: str = DAY, offset: int = 0) -> list[Arrival]:
    """
    Return signals at the positions *first* to *last*; each one's number is its index and *offset*.
    """
    return [arrival(index + offset, index, partition=partition) for index in range(first, last + 1)]


def event_of(arrival: Arrival) -> SignalEvent:
    """
    Return the signal that an arrival brings.
    """
    return SignalEvent.FromString(arrival.signal_data)
