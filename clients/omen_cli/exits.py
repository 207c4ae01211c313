"""
Exit codes, the same for every verb.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

OK = 0
PROBLEM = 1
USAGE = 2
NOT_FOUND = 3
UNREACHABLE = 4
DEADLINE = 5
NOT_ALLOWED = 6
CONFLICT = 7
BUG = 70
UNKNOWN = 3  # of `check`, whose codes are those of Nagios
INTERRUPTED = 130

CODES = {
    grpc.StatusCode.OK: OK,
    grpc.StatusCode.CANCELLED: INTERRUPTED,
    grpc.StatusCode.INVALID_ARGUMENT: USAGE,
    grpc.StatusCode.OUT_OF_RANGE: USAGE,
    grpc.StatusCode.UNIMPLEMENTED: USAGE,
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE: UNREACHABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: DEADLINE,
    grpc.StatusCode.UNAUTHENTICATED: NOT_ALLOWED,
    grpc.StatusCode.PERMISSION_DENIED: NOT_ALLOWED,
    grpc.StatusCode.ALREADY_EXISTS: CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: CONFLICT,
    grpc.StatusCode.ABORTED: CONFLICT,
    grpc.StatusCode.DATA_LOSS: PROBLEM,
}


class Stopped(Exception):
    """
    A verb that cannot go on, with the code it ends with and what to do about it.
    """

    def __init__(self, code: int, reason: str, text: str, remedy: str) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.remedy = remedy


@contextmanager
def interruptible(told: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """
    Turn Ctrl-C inside the block into a sentence on what is done and one on how to go on, as *told* when it happens.
    """
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        text, remedy = told()
        raise Stopped(INTERRUPTED, "INTERRUPTED", f"interrupted: {text}", remedy) from None


def of(code: grpc.StatusCode) -> int:
    """
    Return the exit code of a call that ended with *code*.
    """
    return CODES.get(code, BUG)
