"""
One run over one partition: plan, compare, replay, and compare again.

COMPLETED is proven by the second comparison, at the same watermark as the first, and never inferred from replays that
did not fail. A crash anywhere leaves nothing to undo: the next run computes all of it anew.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from omen_client import CallError, OmenClient
from omen_rpc import metrics
from reconcile.v1 import reconcile_service_pb2 as pb

from .alarm import Alarm
from .compare import FINDINGS_MAX, Coverage, Sum, count_of, is_proven, positions_of
from .comparing import Comparing
from .parking import note
from .plan import UP_TO_DATE, Watermark, need, refusal
from .replay import IDS_KEPT_MAX, Replayed, Replayer
from .state import BATCH_MAX, PARK_ATTEMPTS, Parked, Runs
from .verdict import absorb, extra_ids, failed, progress, said_before, skipped, verdict, word

# With more missing than this left over, telling whether something is there too much would mean reading all of them.
EXCUSED_MAX = 2_000
# Of a run's effort, so much at most goes to signals that RiskCast has refused before.
PARKED_SHARE = 10
PARKED_MIN = 10
ERROR_CHARS_MAX = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What a run is asked for.
    """

    include_open: bool = False
    full: bool = False
    validate_only: bool = False
    force: bool = False
    replays_max: int = 100_000
    seconds_max: float = 3_600.0


@dataclass(slots=True)
class Budget:
    """
    What is left of a run's limits, over all of its partitions.
    """

    replays: int
    ends_s: float
    stopping: Callable[[], str]
    monotonic: Callable[[], float] = time.monotonic

    def spent(self) -> str:
        """
        Return why nothing more is to be replayed now; nothing when there is room.
        """
        if self.monotonic() >= self.ends_s:
            return "time_is_up"
        return self.stopping()


Progress = Callable[[pb.RunReconcileResponse.Progress], None]


@dataclass(frozen=True, slots=True)
class Look:
    """
    What both sides said of a partition at one moment.
    """

    mark: Watermark
    coverage: Coverage
    ledger: Sum
    bytes_compared: int


@dataclass(frozen=True, slots=True)
class Spared:
    """
    Positions that are missing and are not simply sent again: waived by somebody, or refused too often.
    """

    waived: frozenset[int]
    parked: tuple[int, ...]


class Reconcile:
    """
    Runs over partitions, one at a time.
    """

    def __init__(
        self,
        omen: OmenClient,
        comparing: Comparing,
        replayer: Replayer,
        *,
        runs: Runs,
        parked: Parked,
        now: Callable[[], datetime],
    ) -> None:
        self._omen, self._comparing, self._replayer = omen, comparing, replayer
        self._runs, self._parked, self._now = runs, parked, now
        self._alarm = Alarm()

    async def run(self, partition: str, wish: Wish, budget: Budget, run_id: str, tell: Progress) -> pb.ReconcileResult:
        """
        Reconcile one partition, keep what came of it, and return that. Only a state that cannot be kept is raised.
        """
        began_s, started_at = time.monotonic(), self._now()
        state = await self._runs.get(partition)
        result = pb.ReconcileResult(
            partition_date=partition,
            run_id=run_id,
            is_rereconcile=state is not None,
            mode=pb.RECONCILE_MODE_FULL if wish.full else pb.RECONCILE_MODE_INCREMENTAL,
            validate_only=wish.validate_only,
        )
        result.started_at.FromDatetime(started_at)
        following: pb.ReconcileState | None
        try:
            following = await self._run(result, state, wish, budget, tell)
        except CallError as error:
            result.status = pb.RECONCILE_STATUS_FAILED
            result.reason = (error.reason or error.code.name).lower()
            result.error = str(error)[:ERROR_CHARS_MAX]
            following = failed(state, result)
            log.error("reconcile_failed", partition=partition, reason=result.reason, text=result.error)  # noqa: TRY400 - the text says it
        result.duration.FromMilliseconds(round((time.monotonic() - began_s) * 1000))
        metrics.RECONCILE_RUNS.labels(word(result.status)).inc()
        if result.status != pb.RECONCILE_STATUS_SKIPPED and not wish.validate_only:
            if following is not None:
                following.last_reconcile_at.FromDatetime(self._now())
            await self._keep(result, following)
        return result

    async def _keep(self, result: pb.ReconcileResult, following: pb.ReconcileState | None) -> None:
        """
        Keep what came of a run. The history does not say the same twice in a row: only the state's time moves then.
        """
        last = await self._runs.history(result.partition_date, 0, 1)
        # A run that the history has is not appended again, and the state is kept all the same.
        kept = last[0][1] if last and said_before(result, last[0][1]) else result
        await self._runs.save(kept, following)

    async def _run(
        self, result: pb.ReconcileResult, state: pb.ReconcileState | None, wish: Wish, budget: Budget, tell: Progress
    ) -> pb.ReconcileState | None:
        mark = await self._comparing.watermark(result.partition_date)
        result.highwater = mark.highwater
        if reason := refusal(mark, include_open=wish.include_open):
            skipped(result, reason)
            return None
        tell(progress(result, pb.RECONCILE_PHASE_COMPARING))
        reason = "forced" if wish.force else need(state, mark, self._now())
        full = wish.full or reason == "scrub_due"
        if full:
            # The ledger knows of damage what it met when it last counted; only reading all of it finds the rest.
            result.integrity.corrupt_count = await self._comparing.damaged(mark)
        look = await self._look(mark, full=full)
        spared = await self._spared(mark.partition)
        if result.integrity.corrupt_count:
            reason = reason or f"ledger_corrupt_{result.integrity.corrupt_count}"
        reason = reason or await self._noticed(look, state, spared)
        result.bytes_compared = look.bytes_compared
        if not reason:
            skipped(result, UP_TO_DATE)
            return None
        await self._count(result, look, spared)
        replayed = Replayed(stopped="validate_only" if wish.validate_only and result.missing_count else "")
        if result.missing_count and not wish.validate_only:
            tell(progress(result, pb.RECONCILE_PHASE_REPLAYING))
            replayed = await self._replay(result, look, spared, budget, tell)
        tell(progress(result, pb.RECONCILE_PHASE_VERIFYING))
        after = await self._look(mark, full=full)
        result.bytes_compared += after.bytes_compared
        if not wish.validate_only:
            await self._forget_arrived(after)
        await self._judge(result, after, await self._spared(mark.partition), replayed, tell)
        if result.status == pb.RECONCILE_STATUS_COMPLETED and not wish.validate_only:
            await self._confirm(mark)
        return await self._following(result, after)

    async def _look(self, mark: Watermark, *, full: bool) -> Look:
        """
        Ask both sides, RiskCast after the watermark was fixed.
        """
        coverage = await self._comparing.coverage(mark, full=full)
        ledger, size_bytes = await self._comparing.ledger_sum(mark)
        return Look(mark, coverage, ledger, coverage.bytes_compared + size_bytes)

    async def _spared(self, partition: str) -> Spared:
        known = await self._parked.of(partition, None)
        parked = [each for each in known if not each.waived_reason]
        # Whoever was not tried for longest comes first: else the same few would take the turns of all others.
        parked.sort(key=lambda each: each.last_attempt_at.ToNanoseconds())
        return Spared(
            waived=frozenset(each.ledger_index for each in known if each.waived_reason),
            parked=tuple(each.ledger_index for each in parked),
        )

    async def _noticed(self, look: Look, state: pb.ReconcileState | None, spared: Spared) -> str:
        """
        Return what RiskCast shows although nothing has changed by what was kept; nothing when all is as it was.
        """
        coverage, mark = look.coverage, look.mark
        if state is not None and state.store_epoch != coverage.store_epoch:
            return "store_epoch_changed"
        missing = list(positions_of(coverage.missing, spared.waived))
        if missing:
            return f"missing_again_{len(missing)}"
        if mark.gaps:
            return f"ledger_corrupt_{count_of(mark.gaps)}"
        if not await self._proves(look):
            return "fingerprint_differs"
        return "ahead_of_ledger" if await self._comparing.ahead(mark, coverage) else ""

    async def _proves(self, look: Look) -> bool:
        """
        Tell whether RiskCast holds exactly what the ledger has, but for what is missing.
        """
        missing = list(positions_of(look.coverage.missing))
        if len(missing) > EXCUSED_MAX:
            return False
        excused = await self._comparing.hashes(look.mark.partition, missing) if missing else []
        return is_proven(look.ledger, look.coverage.held, excused)

    async def _count(self, result: pb.ReconcileResult, look: Look, spared: Spared) -> None:
        """
        Say what was found before anything is replayed.
        """
        mark, coverage = look.mark, look.coverage
        described = (await self._omen.partition(mark.partition)).partition
        whole = mark.through == mark.highwater
        result.ledger_count = min(described.distinct_signal_ids, look.ledger.count) if whole else look.ledger.count
        # The manifest counts what was damaged when the partition was sealed, the watermark what is so now.
        integrity = result.integrity
        integrity.corrupt_count = max(integrity.corrupt_count, described.corrupt_count, count_of(mark.gaps))
        result.integrity.unpositioned = coverage.unpositioned
        waived = len(spared.waived.intersection(positions_of(coverage.missing))) if spared.waived else 0
        result.missing_count = coverage.missing_count - waived
        result.processed_before = max(0, result.ledger_count - coverage.missing_count)
        metrics.RECONCILE_MISSING_SIGNALS.inc(result.missing_count)

    async def _replay(
        self, result: pb.ReconcileResult, look: Look, spared: Spared, budget: Budget, tell: Progress
    ) -> Replayed:
        """
        Replay what is missing: first what was never refused, then a few of those that were.
        """
        partition = look.mark.partition
        missing = list(positions_of(look.coverage.missing, spared.waived))
        known = set(spared.parked).intersection(missing)
        untried = [index for index in missing if index not in known]
        fresh = untried[: budget.replays]
        budget.replays -= len(fresh)
        tries = max(PARKED_MIN, len(fresh) // PARKED_SHARE)
        chosen = [index for index in spared.parked if index in known][:tries]

        def told(done: Replayed) -> None:
            result.replayed_count = total.count + done.count
            tell(progress(result, pb.RECONCILE_PHASE_REPLAYING))

        total = Replayed()
        wave = fresh
        # A signal that is refused is sent again at once, up to as often as it takes to call it parked.
        for _ in range(PARK_ATTEMPTS):
            wave = await self._wave(partition, wave, total, told, budget)
        await self._wave(partition, sorted(chosen), total, told, budget)
        if not total.stopped and len(fresh) < len(untried):
            total.stopped = "limit"
        result.replayed_count = total.count
        result.replayed_ids.extend(total.ids[:IDS_KEPT_MAX])
        result.failed_ids.extend(dict.fromkeys(each.event.signal_id for each in total.refused[:IDS_KEPT_MAX]))
        # What went bad since the watermark's gaps were counted.
        result.integrity.corrupt_count += total.unreadable
        metrics.RECONCILE_REPLAYED_SIGNALS.inc(total.count)
        metrics.RECONCILE_FALSE_GAPS.inc(total.false_gaps)
        return total

    async def _wave(
        self, partition: str, indexes: list[int], total: Replayed, told: Callable[[Replayed], None], budget: Budget
    ) -> list[int]:
        """
        Replay positions, unless there is a reason to stop, and return those that were refused.
        """
        if total.stopped or not indexes:
            return []
        done = await self._replayer.replay(partition, indexes, told, budget.spent)
        await note(self._parked, partition, done, self._now())
        absorb(total, done)
        return sorted(each.event.ledger_index for each in done.refused)

    async def _forget_arrived(self, after: Look) -> None:
        """
        Forget signals that were refused and have come all the same, on whatever way.
        """
        missing = set(positions_of(after.coverage.missing))
        known = await self._parked.of(after.mark.partition, None)
        arrived = [each.ledger_index for each in known if each.ledger_index not in missing]
        for start in range(0, len(arrived), BATCH_MAX):
            await self._parked.forget(after.mark.partition, arrived[start : start + BATCH_MAX])

    async def _judge(
        self, result: pb.ReconcileResult, after: Look, spared: Spared, replayed: Replayed, tell: Progress
    ) -> None:
        """
        Say how it stands now: complete only if both sides are proven to be the same.
        """
        integrity, coverage = result.integrity, after.coverage
        remaining = list(positions_of(coverage.missing, spared.waived))
        result.remaining_count = len(remaining)
        result.processed_count = max(0, result.ledger_count - coverage.missing_count)
        result.verified_through = after.mark.through
        integrity.proven = await self._proves(after)
        findings = await self._comparing.ahead(after.mark, coverage)
        count = len(findings)
        if len(remaining) <= EXCUSED_MAX and (coverage.recoverable or not integrity.proven):
            tell(progress(result, pb.RECONCILE_PHASE_DRILLING))
            more, count_more = await self._comparing.findings(after.mark, coverage, proven=integrity.proven)
            findings, count = [*findings, *more], count + count_more
        integrity.findings.extend(findings[:FINDINGS_MAX])
        integrity.finding_count = count
        result.extra_ids.extend(extra_ids(integrity.findings))
        self._alarm.tell(result)
        result.status, result.reason = verdict(result, replayed, set(remaining) <= set(spared.parked))
        result.final = after.mark.final and result.status == pb.RECONCILE_STATUS_COMPLETED

    async def _confirm(self, mark: Watermark) -> None:
        """
        Tell OMEN what is proven complete for good: only then may retention ever delete it.
        """
        if not mark.final:
            return
        try:
            await self._omen.confirm_reconciled(mark.partition, mark.through, mark.ledger_epoch)
        except CallError as error:
            log.warning("reconcile_not_confirmed", partition=mark.partition, text=str(error))

    async def _following(self, result: pb.ReconcileResult, after: Look) -> pb.ReconcileState:
        mark = after.mark
        return pb.ReconcileState(
            partition_date=mark.partition,
            ledger_highwater=mark.highwater,
            manifest_revision=mark.manifest_revision,
            ledger_record_count=after.ledger.count,
            processed_count=result.processed_count,
            missing_count=result.remaining_count,
            status=result.status,
            reason=result.reason,
            verified_through=mark.through,
            final=result.final,
            ledger_epoch=mark.ledger_epoch,
            store_epoch=after.coverage.store_epoch,
            parked_count=await self._parked.count(mark.partition),
        )
