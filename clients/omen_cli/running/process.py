"""
Processes of ours that run a module.

They are not started by the event loop: uvloop runs Python between fork and exec, and in a process with gRPC's threads
such a child may stop there for ever, or abort.
"""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any, TypeAlias

from omen_cli.aside import aside, begun

Stream: TypeAlias = int | IO[Any] | None
PIPE, NOTHING = subprocess.PIPE, subprocess.DEVNULL


class Process:
    """
    A process that runs, or has ended.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._ended = begun(process.wait)

    @property
    def pid(self) -> int:
        """
        Its id.
        """
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """
        The code it ended with, a signal's as a negative number; None as long as it runs.
        """
        return self._process.returncode

    async def wait(self) -> int:
        """
        Return the code it ends with. Whoever stops waiting leaves it alone.
        """
        return await asyncio.wrap_future(self._ended)

    async def said(self) -> tuple[bytes, bytes]:
        """
        Return all it says into its pipes, when it has ended.
        """
        return await aside(self._process.communicate)

    async def line(self) -> bytes:
        """
        Return the next line it prints into its pipe; nothing when it prints no more.
        """
        pipe = self._process.stdout
        if pipe is None:
            raise ValueError("its stdout is no pipe")
        return await aside(pipe.readline)

    def send_signal(self, number: int) -> None:
        """
        Send a signal, unless it has ended.
        """
        self._process.send_signal(number)

    def kill(self) -> None:
        """
        End it at once.
        """
        self._process.kill()


def started(
    module: str,
    *arguments: str,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    env: Mapping[str, str] | None = None,
    own_session: bool = False,
) -> Process:
    """
    Start a process that runs a module of ours, whatever lies in the current directory under the same name.
    """
    return Process(
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            start_new_session=own_session,
        )
    )
