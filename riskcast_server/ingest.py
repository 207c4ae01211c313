"""
The way in: each signal is stored once, and every duplicate is told its first ack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import prometheus_client
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc import metrics, tracing
from omen_rpc.call import CURRENT
from omen_rpc.errors import CallError, Reason, Violation, fault, invalid_fields, item_error
from omen_rpc.metadata import ACK_ID, IDEMPOTENCY_KEY, first
from omen_rpc.rate import RateLimit
from omen_rpc.signal_codec import SIGNAL_BYTES_MAX, CodecError, content_digest, recognise
from omen_rpc.signal_rules import REQUEST_ID_CHARS_MAX, check_event, check_line
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from riskcast_server.store import INDEX_MAX, ORIGIN_NAMES, Arrival, Receipt, SignalStore

BATCH_ITEMS_MAX = 500
SCHEMA_MAJOR = "1"
ACCEPTED, DUPLICATE, CONFLICT, REFUSED = "accepted", "duplicate", "conflict", "refused"
# One line a caller and origin in a minute: repeating oneself is no reason to fill a log.
REPEATS_PER_MINUTE = 1

log = structlog.get_logger()


@dataclass(slots=True)
class Counts:
    """
    What this process has taken and refused since it started.
    """

    started_at: Timestamp
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    refused: int = 0


class Ingest(IngestServiceServicer):
    """
    Answers Ingest and IngestBatch. What is durable and what is known already, the store decides.
    """

    def __init__(self, signals: SignalStore) -> None:
        self._signals = signals
        started_at = Timestamp()
        started_at.GetCurrentTime()
        self.counts = Counts(started_at)
        self._lines = RateLimit(REPEATS_PER_MINUTE, 1)

    async def Ingest(self, request: pb.IngestRequest, _context: object) -> pb.IngestResponse:
        """
        Store one signal; ALREADY_EXISTS with the original receipt when it is known.
        """
        origin = origin_of(request.origin)
        key = first(CURRENT.get().metadata, IDEMPOTENCY_KEY)
        try:
            check_key(key, request.signal.signal_id)
            arrival = arrive(request.signal, request.request_id, origin, "")
        except CallError:
            self._refused(origin)
            raise
        (receipt,) = await self._keep([arrival], origin)
        if receipt.duplicate:
            raise already_ingested(receipt)
        return pb.IngestResponse(ack_id=receipt.ack_id, processed_at=receipt.processed_at)

    async def IngestBatch(self, request: pb.IngestBatchRequest, _context: object) -> pb.IngestBatchResponse:
        """
        Store several signals; what is wrong with one touches none of the others.
        """
        if not 1 <= len(request.items) <= BATCH_ITEMS_MAX:
            raise invalid_fields(
                [Violation("items", f"has {len(request.items)} entries, 1 to {BATCH_ITEMS_MAX} may be")]
            )
        origin = origin_of(request.origin)
        reply = pb.IngestBatchResponse()
        arrivals: list[Arrival] = []
        taken: list[pb.IngestBatchResult] = []
        for at, item in enumerate(request.items):
            result = reply.results.add()
            try:
                arrivals.append(arrive(item.signal, item.request_id, origin, f"items[{at}]."))
                taken.append(result)
            except CallError as error:
                self._refused(origin)
                result.error.CopyFrom(item_error(error))
        if arrivals:
            for result, receipt in zip(taken, await self._keep(arrivals, origin), strict=True):
                tell(result, receipt)
        return reply

    async def _keep(self, arrivals: Sequence[Arrival], origin: pb.IngestOrigin.ValueType) -> list[Receipt]:
        """
        Put *arrivals* into the store and count what became of them.

        A digest that OMEN sent is believed for a signal that is new. For one that is known it is computed again, so
        that other content under a borrowed digest is a conflict all the same.
        """
        with tracing.span("ingest", links=(each.event.trace_parent for each in arrivals)):
            receipts = await self._signals.put(arrivals)
        doubted: dict[int, Arrival] = {}
        for at, (arrival, receipt) in enumerate(zip(arrivals, receipts, strict=True)):
            if (
                receipt.duplicate
                and not receipt.content_conflict
                and arrival.content_digest == arrival.event.content_digest
            ):
                true = content_digest(arrival.event)
                if true != receipt.content_digest:
                    doubted[at] = Arrival(arrival.event, true, arrival.origin, arrival.request_id)
        if doubted:
            for at, receipt in zip(doubted, await self._signals.put(list(doubted.values())), strict=True):
                receipts[at] = receipt
        self._count(receipts, origin)
        return receipts

    def _count(self, receipts: Sequence[Receipt], origin: pb.IngestOrigin.ValueType) -> None:
        outcomes = dict.fromkeys((ACCEPTED, DUPLICATE, CONFLICT), 0)
        for receipt in receipts:
            outcomes[outcome_of(receipt)] += 1
        self.counts.accepted += outcomes[ACCEPTED]
        self.counts.duplicates += outcomes[DUPLICATE] + outcomes[CONFLICT]
        self.counts.conflicts += outcomes[CONFLICT]
        for outcome, times in outcomes.items():
            if times:
                counter(origin, outcome).inc(times)
        if outcomes[CONFLICT] or (outcomes[DUPLICATE] and origin == pb.INGEST_ORIGIN_DIRECT):
            self._tell_who(ORIGIN_NAMES[origin], outcomes[DUPLICATE], outcomes[CONFLICT])

    def _tell_who(self, origin: str, duplicates: int, conflicts: int) -> None:
        """
        Log who brings what is known, unless that is OMEN's own way: the metrics have no name of a caller.
        """
        call = CURRENT.get()
        kind = "conflicts" if conflicts else "duplicates"
        if not self._lines.take(f"{kind} {origin} {call.caller}", 1):
            level = log.warning if conflicts else log.info
            level(f"{kind}_brought", origin=origin, peer=call.peer, duplicates=duplicates, conflicts=conflicts)

    def _refused(self, origin: pb.IngestOrigin.ValueType) -> None:
        self.counts.refused += 1
        counter(origin, REFUSED).inc()


@cache
def counter(origin: pb.IngestOrigin.ValueType, outcome: str) -> prometheus_client.Counter:
    """
    Return the counter of an origin and an outcome: there are twelve, and finding one takes longer than counting.
    """
    return metrics.INGEST_SIGNALS.labels(ORIGIN_NAMES[origin], outcome)


def outcome_of(receipt: Receipt) -> str:
    """
    Return what became of a signal, in the words of the metric.
    """
    if receipt.duplicate:
        return CONFLICT if receipt.content_conflict else DUPLICATE
    return ACCEPTED


def origin_of(value: pb.IngestOrigin.ValueType) -> pb.IngestOrigin.ValueType:
    """
    Return on which way a signal comes; one that does not say comes directly.
    """
    if value == pb.INGEST_ORIGIN_UNSPECIFIED:
        return pb.INGEST_ORIGIN_DIRECT
    if value not in ORIGIN_NAMES:
        raise invalid_fields([Violation("origin", f"is {value}, none of {', '.join(sorted(ORIGIN_NAMES.values()))}")])
    return value


def check_key(key: str, signal_id: str) -> None:
    """
    Raise unless the idempotency key, when there is one, is the signal's id.
    """
    if key and key != signal_id:
        raise fault(
            Reason.ERROR_REASON_IDEMPOTENCY_KEY_MISMATCH,
            f"The key is {key!r}, the signal {signal_id!r}.",
            metadata={"idempotency_key": key, "signal_id": signal_id},
        )


def arrive(event: SignalEvent, request_id: str, origin: pb.IngestOrigin.ValueType, path: str) -> Arrival:
    """
    Return a signal fit for the store, or raise what is wrong with it; *path* leads to it in the request.
    """
    data = event.SerializeToString()  # Not ByteSize(), which makes them as well and throws them away.
    if len(data) > SIGNAL_BYTES_MAX:
        size = {"signal_id": event.signal_id, "size_bytes": len(data), "size_bytes_max": SIGNAL_BYTES_MAX}
        raise fault(Reason.ERROR_REASON_SIGNAL_TOO_LARGE, metadata=size)
    if event.schema_version and event.schema_version.partition(".")[0] != SCHEMA_MAJOR:
        versions = {"schema_version": event.schema_version, "supported": f"{SCHEMA_MAJOR}.x"}
        raise fault(Reason.ERROR_REASON_SCHEMA_VERSION_UNSUPPORTED, metadata=versions)
    try:
        recognised = recognise(event)
    except CodecError as error:
        raise invalid_fields([Violation(f"{path}signal.{error.path}", error.problem)]) from None
    if recognised is not event:
        event, data = recognised, recognised.SerializeToString()
    violations = [*check_event(event, f"{path}signal")]
    if request_id:
        violations += check_line(request_id, REQUEST_ID_CHARS_MAX, f"{path}request_id")
    for name in ("ledger_index", "ledger_sequence"):
        if getattr(event, name) > INDEX_MAX:
            violations.append(Violation(f"{path}signal.{name}", f"is above {INDEX_MAX}"))
    if violations:
        raise invalid_fields(violations)
    believed = event.content_digest if origin != pb.INGEST_ORIGIN_DIRECT else ""
    return Arrival(event, believed or content_digest(event), origin, request_id, data)


def tell(result: pb.IngestBatchResult, receipt: Receipt) -> None:
    """
    Write what became of one item into its result.
    """
    if receipt.duplicate:
        result.duplicate.CopyFrom(detail_of(receipt))
    else:
        result.accepted.ack_id = receipt.ack_id
        result.accepted.processed_at.CopyFrom(receipt.processed_at)


def detail_of(receipt: Receipt) -> pb.SignalAlreadyIngested:
    """
    Return the original receipt as a duplicate's sender gets it.
    """
    return pb.SignalAlreadyIngested(
        receipt=pb.Receipt(
            signal_id=receipt.signal_id,
            ack_id=receipt.ack_id,
            processed_at=receipt.processed_at,
            origin=receipt.origin,
            request_id=receipt.request_id,
        ),
        content_conflict=receipt.content_conflict,
    )


def already_ingested(receipt: Receipt) -> CallError:
    """
    Make the error that tells a duplicate's sender the original ack: in the details, in the text, and in a trailer.
    """
    conflict = receipt.content_conflict
    reason = Reason.ERROR_REASON_SIGNAL_CONTENT_CONFLICT if conflict else Reason.ERROR_REASON_SIGNAL_ALREADY_INGESTED
    but = ", with other content" if conflict else ""
    return fault(
        reason,
        f"{receipt.signal_id} is stored already{but}; its ack_id is {receipt.ack_id}.",
        metadata={
            "signal_id": receipt.signal_id,
            "ack_id": receipt.ack_id,
            "processed_at": receipt.processed_at.ToJsonString(),
            "origin": ORIGIN_NAMES[receipt.origin],
            "request_id": receipt.request_id,
        },
        details=[detail_of(receipt)],
        trailers={ACK_ID: receipt.ack_id},
    )
