"""
Copies of a database: taken while a server has it open, put back while none does.
"""

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from omen_storage.lock_file import owned
from omen_storage.sqlite.connection import connect_async, empty_log
from omen_storage.sqlite.database_file import files_of, sync_directory
from omen_storage.sqlite.schema import migrate
from riskcast_server.store.errors import StoreError, StoreFailed, StoreLocked
from riskcast_server.store.limits import StoreLimits
from riskcast_server.store.sqlite.connection import connect_writer, scalar, translated
from riskcast_server.store.sqlite.schema import new_epoch, own_schema


async def backup(path: Path, file: Path) -> None:
    """
    Write a copy of the database at *path* to *file*, as of one moment. A crash leaves no *file*, or all of it.
    """
    part = await asyncio.to_thread(_free_place, file)
    with translated():
        connection = await connect_async(path, "ro", StoreLimits().busy_timeout_ms)
        try:
            await connection.execute_fetchall("VACUUM INTO ?", (str(part),))
        finally:
            await connection.close()
    await asyncio.to_thread(_put_in_place, part, file)


async def restore(path: Path, file: Path) -> str:
    """
    Put the backup *file* in the place of the database at *path*, under a new epoch, which is returned.

    A crash leaves the old database, whole, or the new one. The old one's log is copied into it and removed first: laid
    over the new one, it would damage that.
    """
    part = path.with_name(f"{path.name}.part")
    with owned(path, StoreLocked):
        await asyncio.to_thread(_copy, file, part)
        epoch = new_epoch()
        await asyncio.to_thread(_renew, part, epoch)
        await asyncio.to_thread(_empty_log, path)
        await asyncio.to_thread(_replace, part, path)
    return epoch


def _renew(part: Path, epoch: str) -> None:
    with translated(), closing(connect_writer(part, StoreLimits().busy_timeout_ms)) as connection:
        _check(connection)
        migrate(connection, own_schema())
        connection.execute("UPDATE store_meta SET store_epoch = ?", (epoch,))
        empty_log(connection)


def _check(connection: sqlite3.Connection) -> None:
    if scalar(connection, "PRAGMA application_id") != own_schema().application_id:
        raise StoreFailed("the backup holds no store")
    verdict = scalar(connection, "PRAGMA integrity_check(1)")
    if verdict != "ok":
        raise StoreFailed(f"the backup is damaged: {verdict}")


def _empty_log(path: Path) -> None:
    # A database too damaged for this has nothing to lose by it.
    with (
        suppress(StoreError),
        translated(),
        closing(connect_writer(path, StoreLimits().busy_timeout_ms)) as connection,
    ):
        empty_log(connection)


def _free_place(file: Path) -> Path:
    if file.exists():
        raise FileExistsError(file)
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    return part


def _copy(file: Path, part: Path) -> None:
    for leftover in files_of(part):
        leftover.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as copy, file.open("rb") as source:
        while chunk := source.read(1 << 20):
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())


def _put_in_place(part: Path, file: Path) -> None:
    part.chmod(0o600)
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.rename(file)
    sync_directory(file.parent)


def _replace(part: Path, path: Path) -> None:
    for leftover in files_of(path)[1:]:
        leftover.unlink(missing_ok=True)
    sync_directory(path.parent)
    _put_in_place(part, path)
