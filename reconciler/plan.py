"""
Deciding what has to be reconciled, and up to where. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from omen.v1 import ledger_service_pb2 as ledger_pb
from reconcile.v1 import reconcile_service_pb2 as pb

LATE = "-late"
SCRUB_DAYS = 7
NOT_SEALED = "main_partition_not_sealed"
UP_TO_DATE = "up_to_date"
EMPTY = "nothing_settled"


@dataclass(frozen=True, slots=True)
class Watermark:
    """
    Up to where a partition can be compared, fixed before RiskCast is asked.

    `through` is the smaller of what is durable and what the hot path has settled: above it a signal may be on its way.
    """

    partition: str
    through: int
    highwater: int
    is_sealed: bool
    ledger_epoch: str
    gaps: tuple[tuple[int, int], ...]
    manifest_revision: int

    @property
    def final(self) -> bool:
        """
        Whether nothing can come to it any more.
        """
        return self.is_sealed and self.through == self.highwater


def watermark_of(partition: str, reply: ledger_pb.GetWatermarkResponse) -> Watermark:
    """
    Return a partition's watermark as OMEN told it.
    """
    through = min(reply.durable_highwater, reply.settled_index)
    return Watermark(
        partition=partition,
        through=through,
        highwater=reply.durable_highwater,
        is_sealed=reply.is_sealed,
        ledger_epoch=reply.ledger_epoch,
        gaps=tuple((each.first, min(each.last, through)) for each in reply.gaps if each.first <= through),
        manifest_revision=reply.manifest_revision,
    )


def is_late(partition: str) -> bool:
    """
    Tell whether a partition holds late arrivals.
    """
    return partition.endswith(LATE)


def in_order(partitions: Iterable[str]) -> list[str]:
    """
    Return partitions as they are reconciled: the oldest day first, its main partition before its late one.
    """
    return sorted(partitions, key=lambda name: (name.removesuffix(LATE), is_late(name)))


def since(partitions: Iterable[str], days: int, today: date) -> list[str]:
    """
    Return the partitions of the last *days* days, today counted.
    """
    first = (today - timedelta(days=days - 1)).isoformat()
    return [name for name in partitions if name.removesuffix(LATE) >= first]


def refusal(mark: Watermark, *, include_open: bool) -> str:
    """
    Return why a partition is not to be compared now; nothing when it is.
    """
    if not (mark.is_sealed or include_open or is_late(mark.partition)):
        return NOT_SEALED
    return "" if mark.through else EMPTY


def need(state: pb.ReconcileState | None, mark: Watermark, now: datetime) -> str:
    """
    Return why a partition has to be reconciled, by what was kept of the last time; nothing when nothing has changed.

    The manifest's revision decides nothing. What only a look at RiskCast can tell is not asked here.
    """
    if state is None:
        return "never_reconciled"
    status = pb.ReconcileStatus.Name(state.status).removeprefix("RECONCILE_STATUS_").lower()
    reasons = (
        (state.ledger_epoch != mark.ledger_epoch, "ledger_epoch_changed"),
        (mark.through > state.verified_through, f"highwater_increased_{state.verified_through}_to_{mark.through}"),
        (state.status != pb.RECONCILE_STATUS_COMPLETED, f"previous_status_{status}"),
        (mark.final and not state.final, "sealed_since"),
        (state.last_reconcile_at.ToDatetime(now.tzinfo) < now - timedelta(days=SCRUB_DAYS), "scrub_due"),
    )
    return next((reason for holds, reason in reasons if holds), "")
