"""
Connections on which no request arrives whole: ended after a while, as each is one of the few that may be open.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

SILENCE_MAX_S: Final = 10.0
LOOK_S: Final = 2.0


async def end_silent(connections: Collection[Any], silence_max_s: float = SILENCE_MAX_S) -> None:
    """
    Look at uvicorn's *connections* from time to time, for as long as they are served.

    It waits for ever for the end of a request's head. What it does end is an idle connection behind an answer.
    """
    since_s: dict[Any, float] = {}
    now: Callable[[], float] = asyncio.get_running_loop().time
    while True:
        waiting = {each for each in connections if each.cycle is None or each.cycle.response_complete}
        since_s = {each: since_s.get(each, now()) for each in waiting}
        for each, began_s in since_s.items():
            if now() - began_s >= silence_max_s and each.transport is not None:
                each.transport.close()
        await asyncio.sleep(min(LOOK_S, silence_max_s))
