"""
What the emitter has at hand for its next call.
"""

from collections import deque

from omen_server.tail import Committed

ITEM_OVERHEAD_BYTES = 64  # The request id and the frame around a signal.


class Waiting:
    """
    Fresh signals, read ahead from the ledger, and those that are to be pushed again. Both in the order they came.
    """

    def __init__(self) -> None:
        self.fresh: deque[Committed] = deque()
        self.again: deque[Committed] = deque()

    def __bool__(self) -> bool:
        return bool(self.fresh or self.again)

    def take(self, signals_max: int, bytes_max: int) -> list[Committed]:
        """
        Take the signals of one call: at most half of them again while there are fresh ones.
        """
        batch: list[Committed] = []
        size = 0
        again_max = max(1, signals_max // 2) if self.fresh else signals_max
        for queue, many in ((self.again, again_max), (self.fresh, signals_max)):
            while queue and len(batch) < many:
                size += queue[0].size_bytes + ITEM_OVERHEAD_BYTES
                if batch and size > bytes_max:
                    return batch
                batch.append(queue.popleft())
        return batch

    def take_all(self) -> list[Committed]:
        """
        Take everything.
        """
        everything = [*self.fresh, *self.again]
        self.fresh.clear()
        self.again.clear()
        return everything

    def take_oldest(self, count: int) -> list[Committed]:
        """
        Take so many of the fresh ones, as far as there are that many.
        """
        return [self.fresh.popleft() for _ in range(min(count, len(self.fresh)))]
