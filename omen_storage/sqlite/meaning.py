"""
What the errors of SQLite mean. An asynchronous driver raises the same ones.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from omen_storage.faults import Faults

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_TRANSIENT: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


@contextmanager
def translated(faults: Faults) -> Iterator[None]:
    """
    Raise one of *faults* for whatever the driver raises inside.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, faults) from error


def words(error: sqlite3.Error) -> str:
    """
    Return how an error of the driver is told: by its name, without the values in its text.
    """
    return f"SQLite says {getattr(error, 'sqlite_errorname', None) or type(error).__name__}"


def code_of(error: sqlite3.Error) -> int | None:
    """
    Return the extended result code; None for what the module itself complains of.
    """
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code


def _meaning(error: sqlite3.Error, faults: Faults) -> Exception:
    code = code_of(error)
    primary = None if code is None else code & 0xFF
    if primary in _DAMAGED:
        return faults.damaged(words(error))
    if primary == sqlite3.SQLITE_FULL:
        return faults.full(words(error))
    return faults.unavailable(words(error)) if primary in _TRANSIENT else faults.failed(words(error))
