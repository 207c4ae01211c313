"""
Opening a ledger's directory for writing: identity, lock, recovery, in this order.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from .backup import COPIED
from .durable import Disk
from .entry import Codec
from .errors import LedgerFull, LedgerPoisoned, NotALedger
from .identity import ensure_identity, is_unused, read_identity
from .journal import Journal, Synced, nobody
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
    *,
    synced: Callable[[Synced], None] = nobody,
) -> AsyncIterator[Ledger]:
    """
    Open the ledger in *directory* for writing, recovering it first; an absent or unused directory becomes a ledger.

    *synced* is told of every group that a sync has made durable, in the writer's thread.

    Raises `LedgerLocked` while another process writes it, `NotALedger` for a directory that holds something else,
    `LedgerFull` when there is no room to recover, `LedgerPoisoned` when the disk fails: nothing was served then.
    """
    open_here = partial(_open, directory, codec, settings or LedgerSettings(), now, disk or Disk(), synced=synced)
    ledger = Ledger(await asyncio.to_thread(open_here))
    try:
        yield ledger
    finally:
        await ledger.close()


def _open(
    directory: Path,
    codec: Codec,
    settings: LedgerSettings,
    now: Callable[[], datetime],
    disk: Disk,
    *,
    synced: Callable[[Synced], None],
) -> Opened:
    root = str(directory.absolute())
    if is_unused(disk, root):
        directory.mkdir(parents=True, exist_ok=True)
    else:
        read_identity(disk, root)
        if disk.size(f"{root}/{COPIED}") is not None:
            # Written to, it would go on in the epoch of the ledger it was copied from, and cursors of that would pass.
            raise NotALedger(root, "it is a backup; put it in place elsewhere with omen ledger restore")
    lock = WriterLock(disk, root)
    try:
        identity = ensure_identity(disk, root, now)
        recovered = _recover(disk, root, settings, codec)
        journal = Journal(disk, root, settings, now, recovered, synced=synced)
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
    return Opened(root, disk, codec, settings, now, identity, recovered, lock, journal, reader)


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
