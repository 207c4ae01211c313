"""
Opening a ledger's directory for writing: identity, lock, recovery, in this order.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from .durable import Disk
from .entry import Codec
from .errors import LedgerFull, LedgerPoisoned
from .identity import ensure_identity, is_unused, read_identity
from .journal import Journal
from .ledger import Ledger, Opened
from .live import LiveReader
from .lock import WriterLock
from .names import BALLAST
from .recovery import Recovered, recover
from .settings import LedgerSettings


def utc_now() -> datetime:
    """
    Return the time of this machine.
    """
    return datetime.now(UTC)


@asynccontextmanager
async def open_ledger(
    directory: Path,
    codec: Codec,
    settings: LedgerSettings | None = None,
    now: Callable[[], datetime] = utc_now,
    disk: Disk | None = None,
) -> AsyncIterator[Ledger]:
    """
    Open the ledger in *directory* for writing, recovering it first; an absent or unused directory becomes a ledger.

    Raises `LedgerLocked` while another process writes it, `NotALedger` for a directory that holds something else,
    `LedgerFull` when there is no room to recover, `LedgerPoisoned` when the disk fails: nothing was served then.
    """
    ledger = Ledger(await asyncio.to_thread(_open, directory, codec, settings or LedgerSettings(), now, disk or Disk()))
    try:
        yield ledger
    finally:
        await ledger.close()


def _open(directory: Path, codec: Codec, settings: LedgerSettings, now: Callable[[], datetime], disk: Disk) -> Opened:
    root = str(directory.absolute())
    if is_unused(disk, root):
        directory.mkdir(parents=True, exist_ok=True)
    else:
        read_identity(disk, root)
    lock = WriterLock(disk, root)
    try:
        identity = ensure_identity(disk, root, now)
        journal = Journal(disk, root, settings, now, _recover(disk, root, settings, codec))
        journal.keep_ballast()
    except OSError as error:
        lock.release()
        if error.errno == errno.ENOSPC:
            raise LedgerFull(root, disk.free_bytes(root), error) from error
        raise LedgerPoisoned(error) from error
    except BaseException:
        lock.release()
        raise
    reader = LiveReader(disk, root, codec, journal, journal.marks)
    return Opened(root, disk, codec, settings, now, identity, lock, journal, reader)


def _recover(disk: Disk, root: str, settings: LedgerSettings, codec: Codec) -> Recovered:
    """
    Recover, and again with the ballast freed when the disk is full: recovering twice is recovering once.
    """
    try:
        return recover(disk, root, settings, codec)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        disk.unlink(f"{root}/{BALLAST}")
        return recover(disk, root, settings, codec)
