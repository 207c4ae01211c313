"""
The schema's versions: `PRAGMA user_version` counts the files `NNNN_*.sql` that were run on a database.
"""

import secrets
import sqlite3
from importlib import resources
from typing import Final

from riskcast_server.store.errors import StoreFailed, StoreTooNew
from riskcast_server.store.sqlite.connection import scalar

APPLICATION_ID: Final = 0x52534B43  # "RSKC": what `file` and the check below know our databases by.


def migrations() -> list[str]:
    """
    Return the migrations' scripts; the first leads to version 1.
    """
    folder = resources.files(__package__)
    return [
        file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name) if file.name[:4].isdigit()
    ]


def migrate(connection: sqlite3.Connection, scripts: list[str]) -> None:
    """
    Bring the database to the version that *scripts* lead to. A crash leaves it at a version, never between two.
    """
    found = int(scalar(connection, "PRAGMA user_version"))
    objects = int(scalar(connection, "SELECT count(*) FROM sqlite_schema"))
    if objects and scalar(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise StoreFailed("the file is an SQLite database of something else")
    if found > len(scripts):
        raise StoreTooNew(found, len(scripts))
    for version, script in enumerate(scripts[found:], found + 1):
        marks = f"PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID};"
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{marks} COMMIT;")


def new_epoch() -> str:
    """
    Return a name for the store's life from here on.
    """
    return secrets.token_hex(8)
