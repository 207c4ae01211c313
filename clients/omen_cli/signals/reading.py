"""
What a file or stdin says, read aside: a wait for what is still to be typed leaves the verb free to be interrupted.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from omen_cli import exits
from omen_cli.aside import aside

STDIN = "-"
CHUNK_BYTES = 64 << 10


async def chunks(place: str) -> AsyncIterator[bytes]:
    """
    Yield what there is, piece by piece as it comes; Stopped when it cannot be read. A hyphen is stdin.
    """
    with ExitStack() as stack:
        try:
            descriptor = await aside(partial(opened, place, stack))
            while chunk := await aside(partial(os.read, descriptor, CHUNK_BYTES)):
                yield chunk
        except OSError as error:
            raise exits.Stopped(
                exits.USAGE, "USAGE", f"{place}: {error.strerror}", "Give a file that can be read, or - for stdin."
            ) from None


def opened(place: str, stack: ExitStack) -> int:
    """
    Return the descriptor of a file, or of stdin for a hyphen.
    """
    if place == STDIN:
        if sys.stdin is None:
            raise exits.Stopped(exits.USAGE, "USAGE", "stdin is closed", "Give a file, or something on stdin.")
        return sys.stdin.fileno()
    return stack.enter_context(Path(place).open("rb", buffering=0)).fileno()
