"""
What a server tells the service manager that started it: that it serves, that it lives, that it ends.

The manager gives its socket in NOTIFY_SOCKET and the watchdog's time in WATCHDOG_USEC; systemd does so for units of
``Type=notify``. Without a socket nobody is told.
"""

import asyncio
import socket
from contextlib import suppress

import structlog

USEC_PER_S = 1_000_000

log = structlog.get_logger()


class NotifySocket:
    """
    The manager's end, by its path, or by its name after an ``@``.
    """

    def __init__(self, name: str, watchdog_usec: int) -> None:
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._interval_s = watchdog_usec / USEC_PER_S / 2
        self._beating: asyncio.Task[None] | None = None

    def serving(self, status: str) -> None:
        """
        Say that the server serves, and from now on, twice in each of the watchdog's times, that its event loop turns.
        """
        try:
            self._tell("READY=1", f"STATUS={status}")
        except OSError as error:  # It would be started again for ever, and serves all the same.
            log.warning("not_told", text=f"the service manager's socket takes nothing: {error.strerror}")
        if self._address and self._interval_s and self._beating is None:
            self._beating = asyncio.create_task(self._beat(), name="watchdog")

    def stopping(self) -> None:
        """
        Say that the server drains. It is still said to live, until `close`.
        """
        with suppress(OSError):
            self._tell("STOPPING=1", "STATUS=draining")

    def close(self) -> None:
        """
        Say nothing more.
        """
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None

    async def _beat(self) -> None:
        # A task of the loop that serves, and no thread: what it vouches for is that loop.
        while True:
            with suppress(OSError):  # One that is lost is made up for by the next.
                self._tell("WATCHDOG=1")
            await asyncio.sleep(self._interval_s)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as ours:
            ours.connect(self._address)
            ours.send("\n".join(lines).encode())
