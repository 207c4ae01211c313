"""
The schema's versions: `reconcile_control.schema_version` counts the files `NNNN_*.sql` that were run on a database.
"""

from importlib import resources
from typing import Final

from reconciler.state.errors import StateTooNew
from reconciler.state.postgres.connection import WRITE, Pool, transaction

# Any number will do, as long as every process that migrates takes the same.
_LOCK: Final = 0x5245434F4E43494C

# The one row of the state itself: its schema, the orders, and the lease.
_CONTROL: Final = """
CREATE TABLE reconcile_control (
    one integer PRIMARY KEY CHECK (one = 1),
    schema_version integer NOT NULL,
    paused_reason text,  -- NULL when it is not paused.
    signals_per_second double precision,
    lease_owner text NOT NULL DEFAULT '',
    lease_until_us bigint NOT NULL DEFAULT 0
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
    async with transaction(pool, WRITE) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval("SELECT to_regclass('reconcile_control')") is None:
            await connection.execute(_CONTROL)
            await connection.execute("INSERT INTO reconcile_control (one, schema_version) VALUES (1, 0)")
        found: int = await connection.fetchval("SELECT schema_version FROM reconcile_control")
        if found > len(scripts):
            raise StateTooNew(found, len(scripts))
        for script in scripts[found:]:
            await connection.execute(script)
        if found < len(scripts):
            await connection.execute("UPDATE reconcile_control SET schema_version = $1", len(scripts))
