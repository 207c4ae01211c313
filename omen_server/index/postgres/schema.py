"""
The schema's versions: `omen_index.schema_version` counts the files `NNNN_*.sql` that were run on a database.
"""

from importlib import resources
from typing import Final

from omen_server.index.errors import IndexTooNew
from omen_server.index.postgres.connection import WRITE, Pool, transaction

# Any number will do, as long as every process that migrates takes the same.
_LOCK: Final = 0x4F4D454E494E4458
# An upgrade may have to look at every row.
_TIMEOUT_S: Final = 3600.0

# The one row of the index itself: its schema, and up to where it is true; without a ledger_id it is nobody's.
_META: Final = """
CREATE TABLE omen_index (
    one integer PRIMARY KEY CHECK (one = 1),
    schema_version integer NOT NULL,
    ledger_id text NOT NULL DEFAULT '',
    ledger_epoch text NOT NULL DEFAULT '',
    ledger_offset bigint NOT NULL DEFAULT 0,
    crc bigint NOT NULL DEFAULT 0
)"""


def migrations() -> list[str]:
    """
    Return the migrations' scripts; the first leads to version 1.
    """
    folder = resources.files(__package__)
    return [
        file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name) if file.name[:4].isdigit()
    ]


async def migrate(pool: Pool, scripts: list[str]) -> None:
    """
    Bring the database to the version that *scripts* lead to, in one transaction.

    Processes that start together take turns.
    """
    async with transaction(pool, WRITE, _TIMEOUT_S) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval("SELECT to_regclass('omen_index')") is None:
            await connection.execute(_META)
            await connection.execute("INSERT INTO omen_index (one, schema_version) VALUES (1, 0)")
        found: int = await connection.fetchval("SELECT schema_version FROM omen_index")
        if found > len(scripts):
            raise IndexTooNew(found, len(scripts))
        for script in scripts[found:]:
            await connection.execute(script)
        if found < len(scripts):
            await connection.execute("UPDATE omen_index SET schema_version = $1", len(scripts))
