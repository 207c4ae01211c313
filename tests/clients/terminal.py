"""
The `omen` command on a terminal: stderr is a pseudo-terminal of its own, stdout a pipe.
"""

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from tests.clients.command import OMEN, Ended
from tests.processes import tree_environment

TIMEOUT_S = 30.0


class Terminal:
    """
    A running command, and what it has shown so far.
    """

    def __init__(self, *arguments: str, script: str = "", **environment: str) -> None:
        self._line = [sys.executable, "-c", script] if script else [str(OMEN), *arguments]
        self._environment = tree_environment() | environment
        self.shown = ""
        self._unread = b""

    def __enter__(self) -> Self:
        self._master, slave = pty.openpty()
        try:
            self.process = subprocess.Popen(
                self._line, stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=self._environment
            )
        finally:
            os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._reader.join(TIMEOUT_S)
        os.close(self._master)

    def line(self) -> str:
        """
        Return the next line of stdout.
        """
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        while b"\n" not in self._unread:  # Kept here: what a file object has read ahead, `select` does not see.
            ready, _, _ = select.select([pipe], [], [], TIMEOUT_S)
            assert ready, self.shown
            read = os.read(pipe, 65_536)
            assert read, self.shown
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def enter(self, lines: Iterable[str]) -> None:
        """
        Type lines.
        """
        for line in lines:
            os.write(self._master, f"{line}\n".encode())

    def until(self, holds: Callable[[], bool]) -> None:
        """
        Return when something holds; nothing tells when.
        """
        ends = time.monotonic() + TIMEOUT_S
        while not holds():
            assert time.monotonic() < ends, self.shown
            assert self.process.poll() is None, self.shown
            time.sleep(0.01)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> Ended:
        """
        Send a signal, and return how it ended.
        """
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return Ended(self.process.returncode, (self._unread + out).decode(), self.shown)

    def _read(self) -> None:
        while True:
            try:
                raw = os.read(self._master, 4096)
            except OSError:  # The other end is closed: the command has ended.
                return
            self.shown += raw.decode(errors="replace")
