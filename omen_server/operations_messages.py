"""
What the server knows, as OperationsService tells it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import operations_service_pb2 as pb
from omen_rpc.paging import ITEMS_BYTES_MAX, item_bytes
from omen_server.activity import Happening
from omen_server.breaker import BreakerState, BreakerView
from omen_server.desk.dead_letters import DeadLetter
from omen_server.hot_path import HotPathView

RISKCAST = "riskcast"
STATES = {
    BreakerState.CLOSED: pb.BREAKER_STATE_CLOSED,
    BreakerState.OPEN: pb.BREAKER_STATE_OPEN,
    BreakerState.HALF_OPEN: pb.BREAKER_STATE_HALF_OPEN,
}


def hot_path_message(
    view: HotPathView, sources: Mapping[str, BreakerView], durable_offset: int, now: datetime
) -> pb.GetHotPathResponse:
    """
    Return the hot path, and the breakers towards the sources by name.
    """
    return pb.GetHotPathResponse(
        riskcast=breaker_message(RISKCAST, view.breaker, now),
        sources=[breaker_message(name, sources[name], now) for name in sorted(sources)],
        backpressure_delay=duration(view.backpressure_delay_s),
        queue_length=view.queue_length,
        queue_length_max=view.queue_length_max,
        calls_in_flight=view.calls_in_flight,
        settled_offset=view.settled_offset,
        durable_offset=durable_offset,
        overflowed=view.overflowed,
    )


def breaker_message(name: str, view: BreakerView, now: datetime) -> pb.Breaker:
    """
    Return a breaker as it is.
    """
    return pb.Breaker(
        name=name,
        state=STATES[view.state],
        consecutive_failures=view.consecutive_failures,
        retry_after=duration(view.retry_after_s),
        changed_at=moment(now - timedelta(seconds=view.state_age_s)),
        last_failure=view.last_failure,
    )


def activity_message(happening: Happening) -> pb.Activity:
    """
    Return one thing that happened.
    """
    return pb.Activity(
        at=moment(happening.at),
        kind=happening.kind,
        signal_id=happening.signal_id,
        partition=happening.partition,
        text=happening.text,
    )


def letter_message(letter: DeadLetter) -> pb.DeadLetter:
    """
    Return one dead letter.
    """
    message = pb.DeadLetter(
        dead_letter_id=letter.dead_letter_id,
        at=Timestamp(seconds=letter.at_ns // 1_000_000_000, nanos=letter.at_ns % 1_000_000_000),
        stage=letter.stage,
        reason=letter.reason,
        message=letter.message,
        attempts=letter.attempts,
    )
    if letter.signal_id:
        message.signal_id = letter.signal_id
        return message
    message.event.CopyFrom(letter.raw)
    fit(message)
    return message


def fit(message: pb.DeadLetter | pb.RejectedEvent) -> None:
    """
    Take the longest parts of the raw event out of a message that would not fit into a reply by itself.
    """
    if item_bytes(message) > ITEMS_BYTES_MAX:
        message.event.ClearField("attributes")
        message.event.ClearField("description")


def moment(at: datetime) -> Timestamp:
    """
    Return a time as the contract has it.
    """
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def duration(seconds: float) -> Duration:
    """
    Return a span of time as the contract has it.
    """
    span = Duration()
    span.FromTimedelta(timedelta(seconds=seconds))
    return span
