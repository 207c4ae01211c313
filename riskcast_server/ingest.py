"""
The way in: each signal is stored once, and every duplicate is told its first ack.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

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
from omen_rpc.signal_sieve import passes
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from riskcast_server.batcher import Batcher
from riskcast_server.store import INDEX_MAX, ORIGIN_NAMES, Arrival, Receipt, SignalStore, StoreError

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


class Offer(NamedTuple):
    """
    A signal that somebody brings; *place* is its place in a batch, if it is in one.
    """

    signal: SignalEvent
    request_id: str
    origin: pb.IngestOrigin.ValueType
    place: int | None = None

    @property
    def path(self) -> str:
        """
        What leads to it in the request.
        """
        return "" if self.place is None else f"items[{self.place}]."


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
        self._batcher: Batcher[Offer, Receipt] = Batcher(self._take)

    async def Ingest(self, request: pb.IngestRequest, _context: object) -> pb.IngestResponse:
        """
        Store one signal; ALREADY_EXISTS with the original receipt when it is known.
        """
        origin = origin_of(request.origin)
        signal = request.signal
        key = first(CURRENT.get().metadata, IDEMPOTENCY_KEY)
        if key and key != signal.signal_id:
            self._refused(origin)
            raise other_key(key, signal.signal_id)
        with tracing.span("ingest", links=(signal.trace_parent,)):
            receipt = await self._batcher.outcome(Offer(signal, request.request_id, origin))
        if receipt.duplicate:
            self._tell_who(origin, [receipt])
            raise already_ingested(receipt)
        return pb.IngestResponse(ack_id=receipt.ack_id, processed_at=receipt.processed_at)

    async def IngestBatch(self, request: pb.IngestBatchRequest, _context: object) -> pb.IngestBatchResponse:
        """
        Store several signals; what is wrong with one touches none of the others.
        """
        items = request.items
        if not 1 <= len(items) <= BATCH_ITEMS_MAX:
            raise invalid_fields([Violation("items", f"has {len(items)} entries, 1 to {BATCH_ITEMS_MAX} may be")])
        origin = origin_of(request.origin)
        offers = [Offer(item.signal, item.request_id, origin, place) for place, item in enumerate(items)]
        with tracing.span("ingest", links=(offer.signal.trace_parent for offer in offers)):
            outcomes = await self._take(offers)
        if known := [outcome for outcome in outcomes if isinstance(outcome, Receipt) and outcome.duplicate]:
            self._tell_who(origin, known)
        reply = pb.IngestBatchResponse()
        for outcome in outcomes:
            tell(reply.results.add(), outcome)
        return reply

    async def _take(self, offers: Sequence[Offer]) -> list[Receipt | Exception]:
        """
        Return what became of each of *offers*: its receipt, or what is wrong with it alone.
        """
        arrivals: list[Arrival] = []
        outcomes: list[Receipt | Exception | None] = []
        for offer in offers:
            problem: Exception | None = None
            try:
                arrivals.append(arrive(offer))
            except CallError as error:
                self._refused(offer.origin)
                problem = error
            except Exception as error:  # noqa: BLE001 - a bug that one signal meets must not reach the others
                problem = error
            outcomes.append(problem)
        receipts = iter(await self._keep(arrivals) if arrivals else ())
        return [next(receipts) if outcome is None else outcome for outcome in outcomes]

    async def _keep(self, arrivals: Sequence[Arrival]) -> list[Receipt | StoreError]:
        """
        Put *arrivals* into the store and count what became of them.

        A digest that OMEN sent is believed for a signal that is new. For one that is known it is computed again, so
        that other content under a borrowed digest is a conflict all the same.
        """
        receipts = await self._signals.put(arrivals)
        kept: list[Receipt | StoreError] = [*receipts]
        doubted: dict[int, Arrival] = {}
        for at, (arrival, receipt) in enumerate(zip(arrivals, receipts, strict=True)):
            if receipt.duplicate and not receipt.content_conflict and arrival.origin != pb.INGEST_ORIGIN_DIRECT:
                true = content_digest(SignalEvent.FromString(arrival.signal_data))
                if true != receipt.content_digest:
                    doubted[at] = arrival._replace(content_digest=true)
        if doubted:
            again: Sequence[Receipt | StoreError]
            try:
                again = await self._signals.put(list(doubted.values()))
            except StoreError as error:
                again = [error] * len(doubted)  # What became of the others holds.
            for at, outcome in zip(doubted, again, strict=True):
                kept[at] = outcome
        self._count(arrivals, kept)
        return kept

    def _count(self, arrivals: Sequence[Arrival], kept: Sequence[Receipt | StoreError]) -> None:
        """
        Count what became of *arrivals*; what the store would not take leads to no count.
        """
        times = Counter(
            (arrival.origin, outcome_of(outcome))
            for arrival, outcome in zip(arrivals, kept, strict=True)
            if isinstance(outcome, Receipt)
        )
        for (origin, outcome), number in times.items():
            counter(origin, outcome).inc(number)
            if outcome == ACCEPTED:
                self.counts.accepted += number
            else:
                self.counts.duplicates += number
                self.counts.conflicts += number if outcome == CONFLICT else 0

    def _tell_who(self, origin: pb.IngestOrigin.ValueType, known: Sequence[Receipt]) -> None:
        """
        Log who brings what is known, unless that is OMEN's own way: the metrics have no name of a caller.
        """
        conflicts = sum(receipt.content_conflict for receipt in known)
        if not conflicts and origin != pb.INGEST_ORIGIN_DIRECT:
            return
        call = CURRENT.get()
        kind = "conflicts" if conflicts else "duplicates"
        came_by = ORIGIN_NAMES[origin]
        if not self._lines.take(f"{kind} {came_by} {call.caller}", 1):
            level = log.warning if conflicts else log.info
            level(
                f"{kind}_brought",
                origin=came_by,
                peer=call.peer,
                duplicates=len(known) - conflicts,
                conflicts=conflicts,
            )

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


def other_key(key: str, signal_id: str) -> CallError:
    """
    Make the error for an idempotency key that is not the signal's id.
    """
    return fault(
        Reason.ERROR_REASON_IDEMPOTENCY_KEY_MISMATCH,
        f"The key is {key!r}, the signal {signal_id!r}.",
        metadata={"idempotency_key": key, "signal_id": signal_id},
    )


def arrive(offer: Offer) -> Arrival:
    """
    Return an offer as the store takes it, or raise what is wrong with it.
    """
    event, request_id, origin, _ = offer
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
        raise invalid_fields([Violation(f"{offer.path}signal.{error.path}", error.problem)]) from None
    if recognised is not event:
        event, data = recognised, recognised.SerializeToString()
    violations = [] if passes(event, data) else [*check_event(event, f"{offer.path}signal")]
    if request_id:
        violations += check_line(request_id, REQUEST_ID_CHARS_MAX, f"{offer.path}request_id")
    if event.ledger_index > INDEX_MAX or event.ledger_sequence > INDEX_MAX:
        for name in ("ledger_index", "ledger_sequence"):
            if getattr(event, name) > INDEX_MAX:
                violations.append(Violation(f"{offer.path}signal.{name}", f"is above {INDEX_MAX}"))
    if violations:
        raise invalid_fields(violations)
    believed = event.content_digest if origin != pb.INGEST_ORIGIN_DIRECT else ""
    return Arrival.of(event, believed or content_digest(event), origin, request_id, data)


def tell(result: pb.IngestBatchResult, outcome: Receipt | Exception) -> None:
    """
    Write what became of one item into its result; raise what is no matter of one item.
    """
    if isinstance(outcome, CallError):
        result.error.CopyFrom(item_error(outcome))
    elif isinstance(outcome, Exception):
        raise outcome
    elif outcome.duplicate:
        result.duplicate.CopyFrom(detail_of(outcome))
    else:
        accepted = result.accepted
        accepted.ack_id = outcome.ack_id
        accepted.processed_at.CopyFrom(outcome.processed_at)


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
