"""
What became of each signal on the hot path, for those who wait for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from omen.v1 import signal_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of a signal on the hot path, for good.

    `detail` is a sentence for the caller; `reason` and `message` are RiskCast's own, for the dead letter.
    """

    status: pb.EmitStatus.ValueType
    ack_id: str = ""
    detail: str = ""
    reason: str = ""
    message: str = ""


def left(why: str, reason: str = "", message: str = "") -> Outcome:
    """
    Return the outcome of a signal that the hot path gives up, and why.
    """
    return Outcome(pb.EMIT_STATUS_LEDGER_ONLY, "", f"{why}; the reconciler will bring it.", reason, message)


PENDING = Outcome(pb.EMIT_STATUS_LEDGER_ONLY, detail="pending")


class Outcomes:
    """
    Outcomes by offset: those that somebody waits for, and the latest ones for those who ask a moment later.
    """

    def __init__(self, kept_max: int) -> None:
        self._kept_max = kept_max
        # Not a plain dict: looking for its first entry passes all that were deleted in front of it.
        self._kept: OrderedDict[int, Outcome] = OrderedDict()
        self._awaited: dict[int, asyncio.Future[Outcome]] = {}

    def get(self, offset: int) -> Outcome | None:
        """
        Return an outcome that is still remembered.
        """
        return self._kept.get(offset)

    def put(self, offset: int, outcome: Outcome) -> None:
        """
        Remember an outcome and tell it to those who wait.
        """
        self._kept.pop(offset, None)
        self._kept[offset] = outcome
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        waiting = self._awaited.pop(offset, None)
        if waiting is not None:
            waiting.set_result(outcome)

    async def wait(self, offset: int) -> Outcome:
        """
        Wait for the next outcome of *offset*. One who stops waiting leaves the others undisturbed.
        """
        waiting = self._awaited.get(offset)
        if waiting is None:
            waiting = self._awaited[offset] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(waiting)

    def give_up(self, outcome: Outcome, which: Callable[[int], bool]) -> None:
        """
        Tell *outcome* to those who wait for an offset that *which* says will never have one of its own.
        """
        for offset in [each for each in self._awaited if which(each)]:
            self._awaited.pop(offset).set_result(outcome)
