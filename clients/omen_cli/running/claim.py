"""
Who runs servers in a data directory: a lock that dies with its holder, and a file that says what is running.

A crash at any point leaves the file behind. Whoever finds it without the lock held knows that its writer is gone, and
that servers named in it may still run: they are told from strangers by their start time.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omen_cli import exits
from omen_cli.running.processes import birth, end, lives
from omen_storage import lock_file

LOCK = "up.lock"
STATE = "up.json"
STATE_BYTES_MAX = 1 << 20


class Claim:
    """
    A data directory that this process runs servers in.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / STATE
        self._own = {
            "pid": os.getpid(),
            "born": birth(os.getpid()),
            "since": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    def write(self, row: Mapping[str, Any]) -> None:
        """
        Say what is running. Readers see the old text or the new one, never half of it.
        """
        fresh = self._path.with_suffix(".json.new")
        try:
            fresh.write_text(json.dumps(self._own | dict(row), ensure_ascii=False) + "\n")
            fresh.replace(self._path)
        except OSError:
            # The disk is full: servers go on, and what the file says last is still told from strangers.
            fresh.unlink(missing_ok=True)

    def clear(self) -> None:
        """
        Say that nothing is running any more.
        """
        self._path.unlink(missing_ok=True)


@contextmanager
def claimed(directory: Path) -> Iterator[Claim]:
    """
    Hold *directory* while the block runs; Stopped when another process does, or nobody can.
    """
    fd = lock_of(directory)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise held(directory) from None
        yield Claim(directory)
    finally:
        os.close(fd)


def lock_of(directory: Path) -> int:
    """
    Open the lock's file, making the directory; Stopped in words when that cannot be.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        text = f"{error.filename or directory} cannot be written: {error.strerror}"
        remedy = "Run it as the directory's owner, or give another place with --data-dir."
        raise exits.Stopped(exits.NOT_ALLOWED, "NOT_ALLOWED", text, remedy) from None
    except (FileExistsError, NotADirectoryError):
        text = f"{directory} is not a directory"
        raise exits.Stopped(exits.USAGE, "USAGE", text, "Give another place with --data-dir.") from None
    except OSError as error:
        text = f"{directory} cannot be used: {error.strerror}"
        remedy = "Make room there, or give another place with --data-dir."
        raise exits.Stopped(exits.PROBLEM, "DISK_FAILED", text, remedy) from None


def held(directory: Path) -> exits.Stopped:
    """
    Return how to say that somebody else runs servers here.
    """
    row = read(directory)
    who = f"process {row['pid']}, since {row['since']}" if row else "a process that has just begun"
    at = row.get("servers", {}).get("omen", {}).get("address", "")
    text = f"{directory} is in use by another omen up: {who}{f'; its OMEN is at {at}' if at else ''}"
    return exits.Stopped(
        exits.CONFLICT, "ALREADY_RUNNING", text, f"omen down --data-dir {directory} stops it; --data-dir takes another."
    )


def is_held(directory: Path) -> bool:
    """
    Tell whether some process runs servers in *directory* now. Where nobody may look, none of ours does.
    """
    with suppress(OSError):
        return lock_file.is_held(directory / LOCK)
    return False


def read(directory: Path) -> dict[str, Any]:
    """
    Return what the file says, whoever wrote it; nothing when there is none, or it makes no sense.
    """
    with suppress(OSError, ValueError):
        with (directory / STATE).open("rb") as file:
            row = json.loads(file.read(STATE_BYTES_MAX))
        if isinstance(row, dict) and isinstance(row.get("pid"), int):
            return row
    return {}


def left_behind(directory: Path) -> list[tuple[str, int, str]]:
    """
    Return the name, id and birth of each server that a supervisor which is gone left running in *directory*.
    """
    servers = read(directory).get("servers", {})
    found = []
    for name, each in servers.items() if isinstance(servers, dict) else ():
        pid, born = each.get("pid", 0), each.get("born", "")
        if isinstance(pid, int) and pid > 1 and lives(pid, str(born)):
            found.append((str(name), pid, str(born)))
    return found


async def end_left_behind(directory: Path) -> list[str]:
    """
    End what a supervisor which is gone left running, and return the names. Hold the directory meanwhile.
    """
    found = left_behind(directory)
    await asyncio.gather(*(end(pid, born) for _, pid, born in found))
    return [name for name, _, _ in found]
