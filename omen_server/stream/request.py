from dataclasses import dataclass
from math import isfinite

from omen.v1.signal_service_pb2 import StreamSignalsRequest
from omen_rpc.fields import Fields, is_partition
from omen_rpc.rfc3339 import SECONDS_MAX, SECONDS_MIN
from omen_server.stream.filter import Filter, filter_of

HEARTBEAT_MIN_S, HEARTBEAT_DEFAULT_S, HEARTBEAT_MAX_S = 1, 15, 60
BATCH_DEFAULT, BATCH_MAX = 100, 500
VALUES_MAX = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What a subscriber wants, beside where it starts.
    """

    wanted: Filter
    heartbeat_s: float
    batch_max: int


def wish_of(request: StreamSignalsRequest) -> Wish:
    """
    Return what *request* asks for; INVALID_FIELDS when one of its fields breaks a rule.
    """
    fields = Fields(request)
    check_start(request, fields)
    check_filter(request, fields)
    interval, heartbeat_s = request.heartbeat_interval, float(HEARTBEAT_DEFAULT_S)
    if request.HasField("heartbeat_interval"):
        heartbeat_s = interval.seconds + interval.nanos / 1e9
        holds = HEARTBEAT_MIN_S <= heartbeat_s <= HEARTBEAT_MAX_S and 0 <= interval.nanos < 1_000_000_000
        fields.require(holds, "heartbeat_interval", f"must be {HEARTBEAT_MIN_S} to {HEARTBEAT_MAX_S} seconds")
    fields.number("max_batch", 0, BATCH_MAX)
    fields.check()
    return Wish(filter_of(request.filter), heartbeat_s, request.max_batch or BATCH_DEFAULT)


def check_start(request: StreamSignalsRequest, fields: Fields) -> None:
    """
    Check what can be wrong in where to start without looking at the ledger.
    """
    start = request.WhichOneof("start")
    if start == "from_beginning":
        fields.require(request.from_beginning, "from_beginning", "must be true, or absent to start from now on")
    if start == "since":
        since = request.since
        holds = SECONDS_MIN <= since.seconds <= SECONDS_MAX and 0 <= since.nanos < 1_000_000_000
        fields.require(holds, "since", "must be a time in the years 0001 to 9999")


def check_filter(request: StreamSignalsRequest, fields: Fields) -> None:
    """
    Check the filter. Categories of a newer version are let through: they only match nothing here, or a newer record.
    """
    asked = request.filter
    for name, values in (("categories", asked.categories), ("partitions", asked.partitions)):
        fields.require(len(values) <= VALUES_MAX, f"filter.{name}", f"holds {len(values)}; at most {VALUES_MAX} may be")
    for at, name in enumerate(asked.partitions[:VALUES_MAX]):
        path = f"filter.partitions[{at}]"
        fields.require(is_partition(name), path, "must be a date, YYYY-MM-DD, with -late for late arrivals")
    score = asked.min_confidence_score
    fields.require(isfinite(score) and 0 <= score <= 1, "filter.min_confidence_score", f"must be 0 to 1, not {score}")
