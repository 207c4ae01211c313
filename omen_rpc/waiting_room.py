"""
The waiting room: calls whose headers have come and whose message has not.

As many may wait as there are places; the one that has waited longest makes room for the next. So a flood of headers
without messages delays nobody who sends both, and one timer serves all, since all may wait equally long.
"""

import asyncio
from collections import OrderedDict
from time import perf_counter
from typing import Any

import grpc

from omen_rpc import metrics
from omen_rpc.call import Call
from omen_rpc.errors import CallError, Reason, fault
from omen_rpc.refusal import Context


class WaitingRoom:
    """
    Places for calls that wait for their message.
    """

    def __init__(self, places: int, timeout_s: float) -> None:
        self._places = places
        self._timeout_s = timeout_s
        self._waiting: OrderedDict[asyncio.Task[Any], Call] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        metrics.RPC_BODIES_AWAITED.set_function(lambda: len(self._waiting))

    async def read(self, task: asyncio.Task[Any], context: Context, call: Call) -> bytes:
        """
        Return the bytes of the one message of *call*, which *task* answers.
        """
        if len(self._waiting) >= self._places:
            self._show_out(*self._waiting.popitem(last=False))
        self._waiting[task] = call
        if self._timer is None:
            self._timer = task.get_loop().call_later(self._timeout_s, self._show_out_late_ones)
        try:
            raw = await context.read()
        except asyncio.CancelledError:
            if not call.evicted:
                raise
            task.uncancel()
            raise self.too_late() from None
        finally:
            self._waiting.pop(task, None)
        if raw is grpc.aio.EOF:
            raise fault(Reason.ERROR_REASON_MALFORMED_REQUEST, "The call ended without a message.")
        return bytes(raw)

    def too_late(self) -> CallError:
        """
        Make the error for a call whose message did not come in time.
        """
        return fault(Reason.ERROR_REASON_REQUEST_BODY_TIMEOUT, metadata={"timeout_s": self._timeout_s})

    def _show_out_late_ones(self) -> None:
        self._timer = None
        while self._waiting:
            task, call = next(iter(self._waiting.items()))
            left_s = call.began_s + self._timeout_s - perf_counter()
            if left_s > 0:
                self._timer = task.get_loop().call_later(left_s, self._show_out_late_ones)
                return
            del self._waiting[task]
            self._show_out(task, call)

    def _show_out(self, task: asyncio.Task[Any], call: Call) -> None:
        call.evicted = True
        task.cancel()
