"""
What became of records on the hot path, until the index has taken it. The emitter is often faster than the index.
"""

from collections.abc import Iterable
from heapq import heappop, heappush

import structlog

from omen_server.index import Outcome, merged

log = structlog.get_logger()


class Outcomes:
    """
    Outcomes by offset, the strongest of each, at most so many.

    Beyond that the oldest go: an index that is away for long is not worth the memory, and status 0 is an answer too.
    """

    def __init__(self, outcomes_max: int) -> None:
        self._outcomes_max = outcomes_max
        self._waiting: dict[int, Outcome] = {}
        self._offsets: list[int] = []
        self._dropping = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """
        Keep *outcomes* until they are taken.
        """
        for outcome in outcomes:
            before = self._waiting.get(outcome.offset)
            if before is None:
                heappush(self._offsets, outcome.offset)
            kept = merged([before, outcome]) if before is not None else {outcome.offset: outcome}
            self._waiting |= kept
        while len(self._waiting) > self._outcomes_max:
            del self._waiting[heappop(self._offsets)]
            if not self._dropping:
                self._dropping = True
                log.warning("index_outcomes_dropped", outcomes_max=self._outcomes_max)

    def take(self, through_offset: int, outcomes_max: int) -> list[Outcome]:
        """
        Return those of the lowest offsets up to *through_offset*, and keep them no longer.
        """
        taken: list[Outcome] = []
        while self._offsets and self._offsets[0] <= through_offset and len(taken) < outcomes_max:
            taken.append(self._waiting.pop(heappop(self._offsets)))
        self._dropping = self._dropping and bool(self._waiting)
        return taken
