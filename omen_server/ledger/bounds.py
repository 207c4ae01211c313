"""
What a request may ask of a partition: a name that is one, positions that there are.
"""

from collections.abc import Iterable, Iterator

from omen.v1 import ledger_service_pb2 as pb
from omen.v1.position_pb2 import IndexRange
from omen_rpc.errors import Reason, Violation, fault, invalid_fields
from omen_rpc.fields import Fields, is_partition

from .ledger import Ledger
from .messages import index_ranges
from .names import is_late
from .partition import Gap
from .passage import Span

BATCH_MAX = 500
INDEXES_MAX = 10_000
RANGES_MAX = 10_000


def within(ledger: Ledger, name: str, position: int) -> None:
    """
    Raise POSITION_OUT_OF_RANGE for a position beyond the durable end, PartitionNotFound for an unknown partition.
    """
    durable = ledger.durable_index(name)
    if position > durable:
        raise fault(
            Reason.ERROR_REASON_POSITION_OUT_OF_RANGE,
            f"Position {position} lies beyond {durable}, the end of {name}.",
            metadata={"partition": name, "position": position, "position_max": durable},
        )


def through_of(ledger: Ledger, name: str, asked: int) -> int:
    """
    Return the position to which a request goes: the one it asked for, else the durable end.
    """
    within(ledger, name, asked)
    return asked or ledger.durable_index(name)


def range_of(ledger: Ledger, request: pb.GetFingerprintRequest) -> tuple[int, int]:
    """
    Return the first and the last position of a range; the last is one below the first in an empty partition.
    """
    first, through = max(request.from_index, 1), through_of(ledger, request.partition, request.through_index)
    if request.through_index and first > through:
        raise invalid_fields([Violation("from_index", f"must not be above through_index, {through}")])
    within(ledger, request.partition, first - 1)
    return first, through


def span_of(ledger: Ledger, request: pb.ReadPartitionRequest) -> Span:
    """
    Return which positions are to be read: a range, or a list.
    """
    fields = Fields(request)
    fields.partition()
    fields.number("max_batch", 0, BATCH_MAX)
    fields.ascending("indexes", INDEXES_MAX)
    ranged = bool(request.after_index or request.through_index)
    fields.require(not (ranged and request.indexes), "indexes", "excludes after_index and through_index")
    backwards = request.through_index and request.after_index > request.through_index
    fields.require(not backwards, "after_index", f"must not be above through_index, {request.through_index}")
    fields.check()
    name = request.partition
    if request.indexes:
        within(ledger, name, request.indexes[-1])
        return Span(name, 0, request.indexes[-1], tuple(request.indexes))
    within(ledger, name, request.after_index)
    return Span(name, request.after_index, through_of(ledger, name, request.through_index))


def ranges_of(name: str, gaps: Iterable[Gap], first: int, last: int) -> list[IndexRange]:
    """
    Return the positions from *first* to *last* that lie in gaps. All or an error: a caller compares with the rest.
    """
    ranges = list(index_ranges(gaps, first, last))
    if len(ranges) > RANGES_MAX:
        raise fault(
            Reason.ERROR_REASON_LEDGER_CORRUPT,
            f"{name} is damaged in {len(ranges)} places; at most {RANGES_MAX} can be told.",
            metadata={"partition": name},
        )
    return ranges


def names_of(ledger: Ledger, request: pb.ListPartitionsRequest, after: str) -> Iterator[str]:
    """
    Yield the partitions that may be listed behind *after*, in the order asked for.
    """
    backwards = request.order != pb.PARTITION_ORDER_DATE_ASCENDING
    for name, closed in sorted(ledger.names().items(), reverse=backwards):
        behind = not after or (name < after if backwards else name > after)
        if behind and fits(request.filter, name, closed=closed):
            yield name


def fits(wanted: pb.PartitionFilter.ValueType, name: str, *, closed: bool) -> bool:
    """
    Tell whether a partition may pass a filter. One that is closed may still be on its way to its seal.
    """
    match wanted:
        case pb.PARTITION_FILTER_OPEN:
            return not closed
        case pb.PARTITION_FILTER_SEALED:
            return closed
        case pb.PARTITION_FILTER_LATE:
            return is_late(name)
        case _:
            return True


def place_of_partitions(place: str) -> str:
    """
    Return the partition behind which a page begins.
    """
    if place and not is_partition(place):
        raise fault(Reason.ERROR_REASON_PAGE_TOKEN_INVALID)
    return place


def place_of_blocks(place: str) -> tuple[int, int]:
    """
    Return the block with which a page begins, and the position that the first page went to; zeros for the first page.
    """
    if not place:
        return 0, 0
    block, _, through = place.partition("/")
    if not (block.isdecimal() and through.isdecimal() and place.isascii() and len(place) <= 41):
        raise fault(Reason.ERROR_REASON_PAGE_TOKEN_INVALID)
    return int(block), int(through)
