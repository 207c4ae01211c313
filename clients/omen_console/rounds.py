"""
Rounds of the reconciler that somebody began here: one at a time, going on when its page is closed.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from omen_client import CallError
from omen_console.upstream import Trouble, Upstream
from reconcile.v1 import reconcile_service_pb2 as pb

RESULTS_MAX: Final = 500
# A round that is done by then is told at once; a longer one is followed on the page.
SETTLED_S: Final = 2.0


@dataclass(slots=True)
class Round:
    """
    One round: what was asked, how far it is, and what it came to.
    """

    target: str
    began_at: datetime
    ended_at: datetime | None = None
    progress: pb.RunReconcileResponse.Progress | None = None
    results: list[pb.ReconcileResult] = field(default_factory=list)
    summary: pb.RunReconcileResponse.Summary | None = None
    trouble: Trouble | None = None
    validate_only: bool = False

    @property
    def tone(self) -> str:
        """
        Return how the outcome is coloured.
        """
        if self.trouble is not None or (self.summary is not None and self.summary.failed):
            return "bad"
        if self.summary is None:
            return "plain"
        return "warn" if self.summary.partial or self.summary.remaining_count else "good"

    @property
    def is_good(self) -> bool:
        """
        Whether it left nothing missing.
        """
        return self.ended_at is not None and self.tone == "good" and not self.validate_only

    @property
    def headline(self) -> str:
        """
        Return the outcome in a few words.
        """
        if self.trouble is not None:
            return f"Not reconciled: {self.trouble.text}"
        if self.summary is None:
            return "Reconciling" if self.progress is None else self._under_way(self.progress)
        return self._came_to(self.summary)

    def _came_to(self, summary: pb.RunReconcileResponse.Summary) -> str:
        if summary.failed:
            return f"Failed: {next((each.error or each.reason for each in self.results if each.error), 'see below')}"
        if self.validate_only:
            found = sum(each.missing_count for each in self.results)
            return f"{found:,} missing, nothing replayed" if found else "Up to date"
        if summary.partial:
            return f"Replayed {summary.replayed_count:,}, {summary.remaining_count:,} still missing"
        if summary.replayed_count:
            return f"Replayed {summary.replayed_count:,}"
        not_sealed = {each.reason for each in self.results} == {"main_partition_not_sealed"}
        return "Nothing to do: main partition not sealed" if not_sealed else "Up to date"

    def _under_way(self, progress: pb.RunReconcileResponse.Progress) -> str:
        phase = pb.ReconcilePhase.Name(progress.phase).removeprefix("RECONCILE_PHASE_").lower()
        counts = f", {progress.replayed:,} of {progress.missing:,} replayed" if progress.missing else ""
        number = f" ({progress.partition_number} of {progress.partition_total})" if progress.partition_total else ""
        return f"Reconciling {progress.partition}{number}: {phase}{counts}"


class Rounds:
    """
    Makes rounds, and keeps the last one; *ended* hears of each that is over.
    """

    def __init__(self, upstream: Upstream, timeout_s: float, ended: Callable[[], None]) -> None:
        self._upstream = upstream
        self._ended = ended
        self._timeout_s = timeout_s
        self._task: asyncio.Task[None] | None = None
        self.last: Round | None = None

    @property
    def is_running(self) -> bool:
        """
        Whether a round is under way.
        """
        return self._task is not None and not self._task.done()

    async def make(self, request: pb.RunReconcileRequest, target: str) -> Round:
        """
        Begin a round, or join the one that is under way, and return it when it has ended or takes longer.
        """
        if self._task is None or self._task.done():
            self.last = Round(target, self._upstream.now(), validate_only=request.validate_only)
            self._task = asyncio.create_task(self._run(self.last, request))
        await asyncio.wait({self._task}, timeout=SETTLED_S)
        if self.last is None:
            raise AssertionError("a task has a round")
        return self.last

    async def close(self) -> None:
        """
        Leave the round that is under way; the reconciler ends it after its batch.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, made: Round, request: pb.RunReconcileRequest) -> None:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                aclosing(self._upstream.reconciler.run(request)) as frames,
            ):
                async for frame in frames:
                    match frame:
                        case pb.RunReconcileResponse.Progress():
                            made.progress = frame
                        case pb.ReconcileResult():
                            made.results = [*made.results[-RESULTS_MAX + 1 :], frame]
                        case _:
                            made.summary = frame
        except CallError as error:
            made.trouble = self._upstream.trouble("reconciler", error)
        except TimeoutError:
            text = f"The round took longer than {self._timeout_s:g} s and was left; run it again to go on."
            made.trouble = Trouble("reconciler", "slow", "DEADLINE_EXCEEDED", "", text)
        finally:
            if made.summary is None and made.trouble is None:
                made.trouble = Trouble("reconciler", "down", "CANCELLED", "", "The round was broken off.")
            made.ended_at = self._upstream.now()
            self._ended()
