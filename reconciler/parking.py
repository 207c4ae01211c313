"""
Parked signals, tried again when somebody says so.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from omen_rpc.errors import Reason, fault
from reconcile.v1 import reconcile_service_pb2 as pb

from .replay import Replayed, Replayer
from .state import BATCH_MAX, Attempt, Parked

PAGE = 500
IDS_MAX = 500
RETRY_S = 2.0


class Parking:
    """
    Finds parked signals by their ids, and replays exactly those.
    """

    def __init__(self, parked: Parked, replayer: Replayer, now: Callable[[], datetime]) -> None:
        self._parked, self._replayer = parked, replayer
        self.now = now

    async def check(self, ids: Sequence[str], *, include_waived: bool = False) -> list[pb.ParkedSignal]:
        """
        Return the parked signals with these ids, all there are when none is named; PARKED_SIGNAL_NOT_FOUND else.
        """
        wanted = set(ids)
        found: list[pb.ParkedSignal] = []
        after = 0
        while page := await self._parked.page("", include_waived, after, PAGE):
            after = page[-1][0]
            found += [each for _, each in page if not wanted or each.signal_id in wanted]
            if len(page) < PAGE or (not wanted and len(found) >= IDS_MAX):
                break
        missing = wanted - {each.signal_id for each in found}
        if missing:
            first = min(missing)
            raise fault(
                Reason.ERROR_REASON_PARKED_SIGNAL_NOT_FOUND,
                f"{first} is not parked.",
                metadata={"signal_id": first},
            )
        return found[:IDS_MAX] if not wanted else found

    async def replay(self, ids: Sequence[str], expected_count: int) -> pb.ReplayParkedResponse:
        """
        Replay parked signals, and keep what came of it.
        """
        # Whoever names a waived one has changed his mind.
        found = await self.check(ids, include_waived=bool(ids))
        if expected_count and expected_count != len(found):
            raise fault(
                Reason.ERROR_REASON_COUNT_MISMATCH,
                f"There are {len(found)} of them.",
                metadata={"expected_count": expected_count, "actual_count": len(found)},
            )
        reply = pb.ReplayParkedResponse()
        by_partition: dict[str, list[int]] = {}
        for each in found:
            by_partition.setdefault(each.partition, []).append(each.ledger_index)
        for partition, indexes in sorted(by_partition.items()):
            done = await self._replayer.replay(partition, sorted(indexes), ignore, never)
            await note(self._parked, partition, done, self.now())
            if done.stopped:
                raise fault(
                    Reason.ERROR_REASON_PEER_UNAVAILABLE,
                    f"RiskCast does not answer; {reply.delivered + done.count} were delivered before.",
                    metadata={"peer": "RiskCast", "retry_after_s": RETRY_S},
                    retry_after_s=RETRY_S,
                )
            reply.delivered += done.count
            reply.refused += len(indexes) - done.count
        return reply


async def note(parked: Parked, partition: str, done: Replayed, at: datetime) -> None:
    """
    Keep who was refused, and forget who has arrived.
    """
    for start in range(0, len(done.refused), BATCH_MAX):
        await parked.count_attempts(
            [
                Attempt(
                    partition=partition,
                    ledger_index=each.event.ledger_index,
                    ledger_sequence=each.event.ledger_sequence,
                    signal_id=each.event.signal_id,
                    code=each.error.code.value[0],
                    reason=each.error.reason,
                    message=each.error.message,
                    at=at,
                )
                for each in done.refused[start : start + BATCH_MAX]
            ]
        )
    for start in range(0, len(done.indexes), BATCH_MAX):
        await parked.forget(partition, done.indexes[start : start + BATCH_MAX])


def ignore(_done: Replayed) -> None:
    """
    Tell nobody.
    """


def never() -> str:
    """
    Have no reason to stop.
    """
    return ""
