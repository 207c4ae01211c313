"""
Processes that are not our children: known again by id and start time, so that no other with the same id is harmed.
"""

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

STOP_TIMEOUT_S = 45.0
LOOKED_EVERY_S = 0.05
FIELD_STATE, FIELD_START = 0, 19  # in /proc/PID/stat, after the name


def birth(pid: int) -> str:
    """
    Return what tells a process from another that had the same id before; "" when there is no such process.
    """
    if not Path("/proc/self/stat").exists():
        return _birth_by_ps(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    if fields[FIELD_STATE] in {"Z", "X"}:
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{fields[FIELD_START]}@{boot.read_text().strip() if boot.exists() else ''}"


def lives(pid: int, born: str) -> bool:
    """
    Tell whether the process that was *born* then still lives under this id.
    """
    return bool(born) and birth(pid) == born


async def end(pid: int, born: str) -> None:
    """
    Let a process drain and return when it is gone; one that takes too long is killed.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        _send(pid, born, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                while lives(pid, born):  # noqa: ASYNC110 - nobody is told when a process that is no child ends
                    await asyncio.sleep(LOOKED_EVERY_S)
                return


def _send(pid: int, born: str, number: signal.Signals) -> None:
    """
    Send a signal to that very process. The handle is taken first, so that its id cannot be given on in between.
    """
    try:
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    except ProcessLookupError:
        return
    try:
        if lives(pid, born):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number) if handle >= 0 else os.kill(pid, number)
    finally:
        if handle >= 0:
            os.close(handle)


def _birth_by_ps(pid: int) -> str:
    done = subprocess.run(  # noqa: S603 - a number is its only argument
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
