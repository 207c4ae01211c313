"""
Rounds over partitions: one at a time, under a lease, oldest first, each within the limits of the round.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

import structlog

from omen.v1.ledger_service_pb2 import PARTITION_STATE_DELETED, Partition
from omen_client import OmenClient
from omen_rpc import logs, metrics
from omen_rpc.errors import Reason, fault
from reconcile.v1 import reconcile_service_pb2 as pb

from .plan import in_order, since
from .reconcile import Budget, Reconcile, Wish
from .state import State

Tell = Callable[[pb.RunReconcileResponse], None]
RENEWALS_PER_LEASE = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Target:
    """
    Which partitions a round is over: one, those of the last days, or all of them.
    """

    partition: str = ""
    since_days: int = 0


class Rounds:
    """
    Makes rounds. It owns the lease while one is under way.
    """

    def __init__(
        self,
        omen: OmenClient,
        reconcile: Reconcile,
        state: State,
        *,
        lease_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._omen, self._reconcile = omen, reconcile
        self._control, self._parked, self._success = state.control, state.parked, state.success
        self._lease_s = lease_s
        self._now = now
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{os.urandom(4).hex()}"
        self._turn = asyncio.Lock()
        self._lost = False
        self._paused = False
        self._aged_from = now()
        metrics.RECONCILE_LAST_SUCCESS_AGE_SECONDS.set_function(self._age_s)

    async def learn(self) -> None:
        """
        Learn from the state when the last success was, of whichever reconciler; its age goes on from there.

        As long as there was none it is waited for since a reconciler first began on this state: one that is started
        again and again, and never gets there, is not young each time.
        """
        last = await self._success.last()
        if last is not None:
            metrics.RECONCILE_LAST_SUCCESS_TIMESTAMP.set(last.timestamp())
        self._aged_from = last or await self._success.awaited_since(self._now())

    async def make(self, target: Target, wish: Wish, tell: Tell) -> pb.RunReconcileResponse.Summary:
        """
        Make one round and return what it came to; *tell* hears of progress, of every result, and of the summary.

        Raises CallError while reconciling is paused, while another reconciler is at work, or when OMEN cannot say
        which partitions there are. What goes wrong with one partition is that partition's result.
        """
        async with self._turn, self._leased():
            await self._check_paused()
            began_s = time.monotonic()
            run_id = f"run-{self._now():%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"
            summary = pb.RunReconcileResponse.Summary(run_id=run_id)
            partitions = await self._partitions(target)
            budget = Budget(wish.replays_max, began_s + wish.seconds_max, self._stopping)

            for number, partition in enumerate(partitions, 1):

                def told(progress: pb.RunReconcileResponse.Progress, number: int = number) -> None:
                    progress.partition_number, progress.partition_total = number, len(partitions)
                    tell(pb.RunReconcileResponse(progress=progress))

                if self._stopping():
                    break
                if partition.state == PARTITION_STATE_DELETED:
                    result = passed_over(partition.partition, run_id)
                else:
                    result = await self._reconcile.run(partition.partition, wish, budget, run_id, told)
                count(summary, result)
                tell(pb.RunReconcileResponse(result=result))
            summary.duration.FromMilliseconds(round((time.monotonic() - began_s) * 1000))
            await self._measure(target, summary)
            tell(pb.RunReconcileResponse(summary=summary))
            return summary

    async def pause(self, reason: str) -> bool:
        """
        Let the round that is under way end after its batch, and begin no other until `resume`; also over a restart.
        """
        already_paused = await self._control.pause(reason)
        # After it: a round that begins meanwhile has asked before, and would take this back.
        self._paused = True
        return already_paused

    async def resume(self) -> bool:
        """
        Go on.
        """
        was_paused = await self._control.resume()
        self._paused = False
        return was_paused

    async def _partitions(self, target: Target) -> list[Partition]:
        """
        Return the partitions that are meant, in the order in which they are reconciled.
        """
        if target.partition:
            return [(await self._omen.partition(target.partition)).partition]
        found = {each.partition: each async for each in self._omen.partitions(page_size=500)}
        names = since(found, target.since_days, self._today()) if target.since_days else found
        return [found[name] for name in in_order(names)]

    def _today(self) -> date:
        return self._now().astimezone(UTC).date()

    def _stopping(self) -> str:
        return "lease_lost" if self._lost else "paused" if self._paused else ""

    async def _check_paused(self) -> None:
        reason = await self._control.paused()
        self._paused = reason is not None
        if reason is not None:
            raise fault(
                Reason.ERROR_REASON_RECONCILE_PAUSED, f"Reconciling is paused: {reason}", metadata={"reason": reason}
            )

    def _age_s(self) -> float:
        return (self._now() - self._aged_from).total_seconds()

    async def _measure(self, target: Target, summary: pb.RunReconcileResponse.Summary) -> None:
        metrics.RECONCILE_PARKED_SIGNALS.set(await self._parked.count())
        # One partition says nothing of the others.
        if not (target.partition or summary.partial or summary.failed or self._stopping()):
            await self._success.note(self._now())
            await self.learn()

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[None]:
        """
        Hold the lease while the block runs, or raise LEASE_HELD.
        """
        tasks: list[asyncio.Task[None]] = []
        try:
            if await self._control.hold(self._owner, self._lease_s, self._now()) is None:
                await self.learn()  # What the other one brings about counts for this one's figure as well.
                raise fault(
                    Reason.ERROR_REASON_LEASE_HELD,
                    metadata={"holder": "another", "retry_after_s": self._lease_s},
                    retry_after_s=self._lease_s,
                )
            self._lost = False
            tasks.append(asyncio.create_task(self._renew()))
            yield
        finally:
            # Whenever it is cancelled, and however often: a lease that nobody uses keeps everybody waiting.
            await asyncio.shield(self._let_go(tasks))

    async def _let_go(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._control.release(self._owner)

    async def _renew(self) -> None:
        while not self._lost:
            await asyncio.sleep(self._lease_s / RENEWALS_PER_LEASE)
            try:
                self._lost = await self._control.hold(self._owner, self._lease_s, self._now()) is None
            except Exception as error:  # noqa: BLE001 - the loop of a task: a lease that cannot be renewed is lost
                log.warning("lease_not_renewed", text=logs.words(error))
                self._lost = True


def passed_over(partition: str, run_id: str) -> pb.ReconcileResult:
    """
    Return that a partition is gone past its retention: it was proven complete before, and nothing is left to compare.
    """
    return pb.ReconcileResult(
        partition_date=partition, run_id=run_id, status=pb.RECONCILE_STATUS_SKIPPED, reason="deleted_after_retention"
    )


def count(summary: pb.RunReconcileResponse.Summary, result: pb.ReconcileResult) -> None:
    """
    Add a partition's result to the summary.
    """
    match result.status:
        case pb.RECONCILE_STATUS_COMPLETED:
            summary.completed += 1
        case pb.RECONCILE_STATUS_PARTIAL:
            summary.partial += 1
        case pb.RECONCILE_STATUS_FAILED:
            summary.failed += 1
        case _:
            summary.skipped += 1
    summary.replayed_count += result.replayed_count
    summary.remaining_count += result.remaining_count
