import asyncio
import time
from collections.abc import Awaitable, Callable

from omen.v1 import operations_service_pb2 as pb
from omen_client import CallError, OmenClient

ASK_INTERVAL_S = 1.0
PATIENCE_S = 5.0
LOOK_AGAIN_S = 0.25
QUEUE_FREE = 100


class Courtesy:
    """
    Lets the hot path go first: while it fails or has a queue, a replay waits a moment, and never for ever.
    """

    def __init__(
        self,
        omen: OmenClient,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._omen = omen
        self._monotonic = monotonic
        self._sleep = sleep
        self._asked_s = monotonic() - ASK_INTERVAL_S
        self._busy = False

    async def wait(self) -> None:
        """
        Return when the hot path has room, or after a few seconds all the same.
        """
        ends = self._monotonic() + PATIENCE_S
        while await self._is_busy() and self._monotonic() < ends:
            await self._sleep(LOOK_AGAIN_S)

    async def _is_busy(self) -> bool:
        if not self._busy and self._monotonic() - self._asked_s < ASK_INTERVAL_S:
            return False
        self._asked_s = self._monotonic()
        try:
            view = await self._omen.operations.hot_path()
        except CallError:
            self._busy = False  # Whoever cannot be asked cannot be in the way.
        else:
            # Half open with a short queue is nobody waiting: without a new signal it stays so for ever.
            self._busy = view.riskcast.state == pb.BREAKER_STATE_OPEN or view.queue_length > QUEUE_FREE
        return self._busy
