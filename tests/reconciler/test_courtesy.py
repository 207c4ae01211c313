"""
The hot path goes first: asked of a real OperationsService over a breaker that the test sets.
"""

from collections.abc import Callable
from typing import Any

import pytest

from omen.v1 import operations_service_pb2 as pb
from omen.v1.operations_service_pb2_grpc import OperationsServiceServicer
from omen_client import OmenClient
from reconciler.courtesy import PATIENCE_S, QUEUE_FREE, Courtesy
from tests.hosting import hosted
from tests.reconciler.far_side import closed

OPERATIONS = pb.DESCRIPTOR.services_by_name["OperationsService"]


class HotPath(OperationsServiceServicer):
    """
    A hot path as the test says.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.state = pb.BREAKER_STATE_CLOSED
        self.queue = 0
        self.down = False

    async def GetHotPath(self, _request: Any, _context: Any) -> pb.GetHotPathResponse:
        """
        Answer.
        """
        self.asked += 1
        if self.down:
            raise closed()
        return pb.GetHotPathResponse(riskcast=pb.Breaker(state=self.state), queue_length=self.queue)


async def waited(hot: HotPath, after_s: Callable[[float], None] = lambda _s: None, times: int = 1) -> list[float]:
    """
    Return how long each of some waits was; *after_s* hears of the time as it passes.
    """
    now, waits = [100.0], []

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        after_s(now[0] - 100)

    async with hosted(hot, service=OPERATIONS) as server, OmenClient(str(server.address)) as client:
        courtesy = Courtesy(client, monotonic=lambda: now[0], sleep=sleep)
        for _ in range(times):
            began = now[0]
            await courtesy.wait()
            waits.append(now[0] - began)
    return waits


@pytest.mark.parametrize("state", [pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_HALF_OPEN])
async def test_nobody_waits_for_a_hot_path_that_has_room(state: pb.BreakerState.ValueType) -> None:
    """
    With a short queue nobody waits, also while the breaker is half open for want of a signal; it is asked now and then.
    """
    hot = HotPath()
    hot.state, hot.queue = state, QUEUE_FREE
    assert await waited(hot, times=20) == [0.0] * 20
    assert hot.asked == 1


@pytest.mark.parametrize("full", [True, False])
async def test_who_fails_or_has_a_queue_goes_first(full: bool) -> None:
    """
    While the breaker is open or the queue long a replay waits, and goes on soon after that has ended.
    """
    hot = HotPath()
    hot.state = pb.BREAKER_STATE_CLOSED if full else pb.BREAKER_STATE_OPEN
    hot.queue = QUEUE_FREE + 1 if full else 0

    def after(seconds: float) -> None:
        if seconds >= 2:
            hot.state, hot.queue = pb.BREAKER_STATE_CLOSED, 0

    (wait_s,) = await waited(hot, after)
    assert 2 <= wait_s < 3


async def test_nobody_waits_for_ever() -> None:
    """
    A hot path that stays in trouble delays each batch by a few seconds, and one that cannot be asked by nothing.
    """
    hot = HotPath()
    hot.state = pb.BREAKER_STATE_OPEN
    for wait_s in await waited(hot, times=2):
        assert PATIENCE_S <= wait_s < PATIENCE_S + 1
    hot.down = True
    assert await waited(hot) == [0.0]
