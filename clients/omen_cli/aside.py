"""
Work that blocks, in a thread that nobody waits for when the process ends: an executor's threads would be.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Answer = TypeVar("Answer")


async def aside(work: Callable[[], Answer]) -> Answer:
    """
    Return what *work* returns. Whoever stops waiting does not stop it.
    """
    return await asyncio.wrap_future(begun(work))


def begun(work: Callable[[], Answer]) -> "Future[Answer]":
    """
    Begin *work*, and return where its answer will be.
    """
    done: Future[Answer] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return done
