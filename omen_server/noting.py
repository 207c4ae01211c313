"""
What is noted of every signal once the hot path is done with it: in the index, in the counters, among the dead letters.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from omen.v1 import signal_service_pb2 as pb
from omen_rpc import metrics
from omen_server.activity import Activity
from omen_server.desk.dead_letters import Failure, of_signal
from omen_server.desk.desk import Desk
from omen_server.desk.errors import DeskError
from omen_server.index import Outcome as Noted
from omen_server.index.follower import Follower
from omen_server.outcomes import Outcome
from omen_server.stats import Stats
from omen_server.tail import Committed

log = structlog.get_logger()


class Notes:
    """
    Listens to the emitter. It never holds the hot path up: what takes time is done behind it.
    """

    def __init__(
        self, follower: Follower, desk: Desk, stats: Stats, activity: Activity, now: Callable[[], datetime]
    ) -> None:
        self._follower, self._desk, self._stats, self._activity = follower, desk, stats, activity
        self._now = now
        self._writing: set[asyncio.Task[None]] = set()

    def take(self, done: Sequence[tuple[Committed, Outcome]]) -> None:
        """
        Note what became of signals.
        """
        self._follower.note(Noted(item.offset, outcome.status, outcome.ack_id) for item, outcome in done)
        refused: list[Failure] = []
        now_ns = self._now().timestamp() * 1e9
        for item, outcome in done:
            self._stats.settled(outcome.status)
            if outcome.status == pb.EMIT_STATUS_DELIVERED:
                metrics.END_TO_END_SECONDS.observe(max(0.0, now_ns - item.position.written_at) / 1e9)
            if outcome.status == pb.EMIT_STATUS_REJECTED:
                signal_id = item.event.signal_id
                refused.append(of_signal(signal_id, item.offset, outcome.reason, outcome.message or outcome.detail))
                self._activity.tell("refused", outcome.detail, signal_id=signal_id, partition=item.position.partition)
        if refused:
            writing = asyncio.create_task(self._keep(refused))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)

    async def written(self) -> None:
        """
        Wait for the dead letters that are being written: nobody is told of a refusal that is not on record.
        """
        if self._writing:
            await asyncio.wait(self._writing)

    async def _keep(self, refused: Sequence[Failure]) -> None:
        try:
            await self._desk.dead_letters.keep(refused, self._now())
        except DeskError as error:
            # The ledger has these signals and RiskCast has not: the reconciler comes upon them, and parks them.
            log.error("dead_letters_not_kept", signals=[each.subject for each in refused], text=str(error))  # noqa: TRY400 - the text says it
