from datetime import date, timedelta
from typing import Any

import pytest

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen.v1.position_pb2 import IndexRange
from reconcile.v1 import reconcile_service_pb2 as pb
from reconciler.plan import Watermark, in_order, need, refusal, since, watermark_of
from tests.ledgers import DAY, LATE, NOON

MARK = Watermark(DAY, 10, 10, is_sealed=True, ledger_epoch="e", gaps=(), manifest_revision=1)


def state(**other: Any) -> pb.ReconcileState:
    """
    Return how a partition stands that was completed just now.
    """
    made = pb.ReconcileState(
        partition_date=DAY,
        ledger_highwater=10,
        verified_through=10,
        manifest_revision=1,
        status=pb.RECONCILE_STATUS_COMPLETED,
        final=True,
        ledger_epoch="e",
    )
    made.last_reconcile_at.FromDatetime(other.pop("at", NOON))
    made.MergeFrom(pb.ReconcileState(**other))
    for name, value in other.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (None, "never_reconciled"),
        (state(), ""),
        (state(manifest_revision=7), ""),
        (state(verified_through=8), "highwater_increased_8_to_10"),
        (state(status=pb.RECONCILE_STATUS_PARTIAL), "previous_status_partial"),
        (state(status=pb.RECONCILE_STATUS_FAILED), "previous_status_failed"),
        (state(ledger_epoch="of before"), "ledger_epoch_changed"),
        (state(final=False), "sealed_since"),
        (state(at=NOON - timedelta(days=7)), ""),
        (state(at=NOON - timedelta(days=7, seconds=1)), "scrub_due"),
        (state(ledger_record_count=3, processed_count=3), ""),
    ],
    ids=[
        "never",
        "up_to_date",
        "manifest_revision_ignored",
        "highwater_increased",
        "previous_partial",
        "previous_failed",
        "other_epoch",
        "sealed_since",
        "a week ago",
        "scrub_due",
        "counts_ignored",
    ],
)
def test_needs_reconcile(before: pb.ReconcileState | None, reason: str) -> None:
    """
    By what was kept: never, more in the ledger, not completed, another ledger, sealed since, long ago. Nothing else
    counts, a new revision of the manifest neither.
    """
    assert need(before, MARK, NOON) == reason


@pytest.mark.parametrize(
    ("name", "sealed", "through", "include_open", "reason"),
    [
        (DAY, True, 10, False, ""),
        (DAY, False, 10, False, "main_partition_not_sealed"),
        (DAY, False, 10, True, ""),
        (LATE, False, 10, False, ""),
        (LATE, False, 0, False, "nothing_settled"),
        (DAY, False, 0, True, "nothing_settled"),
    ],
)
def test_what_is_not_compared_now(name: str, sealed: bool, through: int, include_open: bool, reason: str) -> None:
    """
    An open main partition waits for its seal unless asked for, a late one never does; nothing settled is nothing to do.
    """
    mark = Watermark(name, through, 10, is_sealed=sealed, ledger_epoch="e", gaps=(), manifest_revision=0)
    assert refusal(mark, include_open=include_open) == reason


def test_the_watermark_is_the_lower_one() -> None:
    """
    What is compared ends where the hot path is settled; gaps end there too, and only a sealed whole is final.
    """
    reply = ledger_pb.GetWatermarkResponse(durable_highwater=10, settled_index=6, ledger_epoch="e", is_sealed=True)
    reply.gaps.extend([IndexRange(first=2, last=3), IndexRange(first=5, last=9), IndexRange(first=8, last=8)])
    mark = watermark_of(DAY, reply)
    assert (mark.through, mark.highwater, mark.gaps, mark.final) == (6, 10, ((2, 3), (5, 6)), False)
    reply.settled_index = 12
    assert (watermark_of(DAY, reply).through, watermark_of(DAY, reply).final) == (10, True)
    reply.is_sealed = False
    assert not watermark_of(DAY, reply).final


def test_the_oldest_day_comes_first_and_its_late_arrivals_after_it() -> None:
    """
    Main before late, day by day, however they were listed.
    """
    names = ["2026-01-30", "2026-01-28-late", "2026-01-29", "2026-01-28", "2025-12-31-late"]
    assert in_order(names) == ["2025-12-31-late", "2026-01-28", "2026-01-28-late", "2026-01-29", "2026-01-30"]


def test_the_last_days_include_today() -> None:
    """
    Of 7 days the seventh before is left out, late partitions go by their day, and the future is not left out.
    """
    today = date(2026, 1, 28)
    names = ["2026-01-21", "2026-01-21-late", "2026-01-22", "2026-01-22-late", "2026-01-28", "2026-01-29"]
    assert since(names, 7, today) == names[2:]
    assert since(names, 1, today) == names[4:]
