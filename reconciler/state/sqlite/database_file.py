"""
The state's file: durable, and of a schema that this version knows.
"""

import sqlite3
from pathlib import Path
from typing import Final

from omen_storage.migrations import migrations
from omen_storage.sqlite import connection as driver
from omen_storage.sqlite.schema import Schema, migrate
from reconciler.state.errors import FAULTS

BUSY_TIMEOUT_MS: Final = 10_000

_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1000",
    f"PRAGMA journal_size_limit = {16 << 20}",
)


def own_schema() -> Schema:
    """
    Return the versions that this one knows.
    """
    return Schema(0x4F4D5253, migrations(__package__), FAULTS)  # "OMRS".


def connect(path: Path) -> sqlite3.Connection:
    """
    Open the connection, and bring its schema up to date.
    """
    connection = driver.connect(path, "rw", BUSY_TIMEOUT_MS, _PRAGMAS)
    try:
        driver.check_durable(connection, FAULTS)
        migrate(connection, own_schema())
    except BaseException:
        connection.close()
        raise
    return connection
