"""
Work that goes on for as long as the server does, and what happens when it ends all the same.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from omen_rpc.program import FAILED
from omen_rpc.server import Server

LAST_ANSWERS_S = 0.5

log = structlog.get_logger()


@asynccontextmanager
async def running(name: str, work: Coroutine[Any, Any, None], server: Server) -> AsyncIterator[None]:
    """
    Run *work* while the block does. It goes on for ever by itself: should it end, so does the process.
    """
    task = asyncio.create_task(work, name=name)
    mourning = asyncio.create_task(end_with(task, server))
    try:
        yield
    finally:
        mourning.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def end_with(task: "asyncio.Task[None]", server: Server) -> None:
    """
    End the process when *task* has ended, which goes on for ever by itself: without it the server only looks alive.
    """
    await asyncio.wait([task])
    error = None if task.cancelled() else task.exception()
    log.critical("task_ended", task=task.get_name(), exit_code=FAILED, exc_info=error)
    await end_now(server)


async def end_now(server: Server) -> None:
    """
    End the process at once, after a moment for the answers that are on their way.

    Nothing is flushed or closed in order: every step of that would trust what has just failed. A restart recovers.
    """
    await server.give_up(LAST_ANSWERS_S)
    os._exit(FAILED)
