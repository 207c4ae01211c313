"""
SIGTERM while a verb is at work: the first ends it as Ctrl-C does, with its words on how to go on; the second at once.
"""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from threading import current_thread, main_thread
from typing import Any

from omen_cli import exits

TERMINATED = 128 + signal.SIGTERM


def at_once(_number: int, _frame: object) -> None:
    """
    End as at the end of a verb: servers that a verb started are stopped, files it made are removed.
    """
    sys.exit(TERMINATED)


async def terminable(work: Coroutine[Any, Any, Any]) -> Any:
    """
    Await *work*, which SIGTERM cancels; Stopped with that signal's own code then, whatever the verb makes of it.
    """
    if current_thread() is not main_thread():
        return await work  # Signals are the main thread's.
    task, loop, told = asyncio.current_task(), asyncio.get_running_loop(), list[int]()
    if task is None:
        raise RuntimeError("there is no task")

    def tell(number: int, frame: object) -> None:
        if told:
            at_once(number, frame)
        told.append(number)
        loop.call_soon_threadsafe(task.cancel)

    before = signal.signal(signal.SIGTERM, tell)
    try:
        return await work
    except exits.Stopped as error:
        if told and error.code == exits.INTERRUPTED:
            error.code = TERMINATED
        raise
    except asyncio.CancelledError:
        if not told:
            raise
        raise exits.Stopped(TERMINATED, "INTERRUPTED", "interrupted", "The same command starts over.") from None
    finally:
        signal.signal(signal.SIGTERM, before)
