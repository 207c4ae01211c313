"""
What a run over a partition comes to, in the words of the contract.
"""

from collections.abc import Iterable, Iterator

from reconcile.v1 import reconcile_service_pb2 as pb

from .replay import Replayed


def verdict(
    result: pb.ReconcileResult, replayed: Replayed, only_parked: bool
) -> tuple[pb.ReconcileStatus.ValueType, str]:
    """
    Return how a partition stands, and why in a word.
    """
    integrity, partial = result.integrity, pb.RECONCILE_STATUS_PARTIAL
    if result.remaining_count:
        damaged = f"ledger_corrupt_{integrity.corrupt_count}" if replayed.unreadable else ""
        return partial, replayed.stopped or damaged or ("parked" if only_parked else "still_missing")
    kinds = [each.kind for each in integrity.findings if each.kind != pb.FINDING_KIND_RECOVERABLE]
    if kinds:
        return partial, pb.FindingKind.Name(kinds[0]).removeprefix("FINDING_KIND_").lower()
    if integrity.corrupt_count:
        return partial, f"ledger_corrupt_{integrity.corrupt_count}"
    if not integrity.proven:
        return partial, "not_proven"
    return pb.RECONCILE_STATUS_COMPLETED, ""


def extra_ids(findings: Iterable[pb.Finding]) -> Iterator[str]:
    """
    Yield the signals that RiskCast has and the ledger does not.
    """
    for each in findings:
        if each.kind in (pb.FINDING_KIND_EXTRA, pb.FINDING_KIND_AHEAD_OF_LEDGER):
            yield each.stored_signal_id


def said_before(result: pb.ReconcileResult, last: pb.ReconcileResult) -> bool:
    """
    Tell whether a run came to nothing but what the partition's last one did. One that brought something is news.
    """
    if result.replayed_count or result.status not in (pb.RECONCILE_STATUS_PARTIAL, pb.RECONCILE_STATUS_FAILED):
        return False
    return found(result) == found(last)


def found(result: pb.ReconcileResult) -> pb.ReconcileResult:
    """
    Return what a run found, without what only that run was like: parked signals take turns in being tried.
    """
    plain = pb.ReconcileResult()
    plain.CopyFrom(result)
    for name in ("run_id", "started_at", "duration", "is_rereconcile", "mode", "bytes_compared", "failed_ids"):
        plain.ClearField(name)
    return plain


def absorb(total: Replayed, more: Replayed) -> None:
    """
    Add what one more replay came to. Of refusals the last one counts, for each signal, and none of what has arrived.
    """
    total.count += more.count
    total.ids += more.ids
    total.unreadable += more.unreadable
    total.false_gaps += more.false_gaps
    total.stopped = total.stopped or more.stopped
    gone = {*more.indexes, *(each.event.ledger_index for each in more.refused)}
    total.refused = [each for each in total.refused if each.event.ledger_index not in gone] + more.refused


def failed(state: pb.ReconcileState | None, result: pb.ReconcileResult) -> pb.ReconcileState:
    """
    Return the state after a run that could not be made: what was verified before stays so, and is looked at again.
    """
    following = pb.ReconcileState(partition_date=result.partition_date)
    if state is not None:
        following.CopyFrom(state)
    following.status = pb.RECONCILE_STATUS_FAILED
    following.reason, following.error_message = result.reason, result.error
    following.final = False
    return following


def skipped(result: pb.ReconcileResult, reason: str) -> None:
    """
    Say that nothing was done, and why.
    """
    result.status, result.reason = pb.RECONCILE_STATUS_SKIPPED, reason


def progress(result: pb.ReconcileResult, phase: pb.ReconcilePhase.ValueType) -> pb.RunReconcileResponse.Progress:
    """
    Return how far a run is.
    """
    return pb.RunReconcileResponse.Progress(
        partition=result.partition_date, phase=phase, replayed=result.replayed_count, missing=result.missing_count
    )


def word(status: pb.ReconcileStatus.ValueType) -> str:
    """
    Return a status's short name.
    """
    return pb.ReconcileStatus.Name(status).removeprefix("RECONCILE_STATUS_").lower()
