"""
The schema's versions: `store_meta.schema_version` counts the files `NNNN_*.sql` that were run on a database.
"""

import secrets
from importlib import resources

from riskcast_server.store.errors import StoreFailed, StoreTooNew
from riskcast_server.store.limits import StoreLimits
from riskcast_server.store.postgres.connection import READ_COMMITTED, Pool, open_pool, transaction

# Any number will do, as long as every process that migrates takes the same.
_LOCK = 0x5249534B43415354


def migrations() -> list[str]:
    """
    Return the migrations' scripts; the first leads to version 1.
    """
    folder = resources.files(__package__)
    return [
        file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name) if file.name[:4].isdigit()
    ]


async def migrate(pool: Pool, limits: StoreLimits, scripts: list[str]) -> None:
    """
    Bring the database to the version that *scripts* lead to, in one transaction.

    Processes that start together take turns.
    """
    async with transaction(pool, limits, READ_COMMITTED) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval("SELECT to_regclass('store_meta')") is None:
            await connection.execute(
                "CREATE TABLE store_meta (one integer PRIMARY KEY CHECK (one = 1), store_epoch text NOT NULL, "
                "schema_version integer NOT NULL)"
            )
            await connection.execute("INSERT INTO store_meta VALUES (1, $1, 0)", secrets.token_hex(8))
        found: int = await connection.fetchval("SELECT schema_version FROM store_meta")
        if found > len(scripts):
            raise StoreTooNew(found, len(scripts))
        if found == len(scripts):
            return
        for script in scripts[found:]:
            await connection.execute(script)
        await connection.execute("UPDATE store_meta SET schema_version = $1", len(scripts))


async def renew_epoch(url: str) -> str:
    """
    Give the database at *url*, which was restored from a dump, a new epoch, and return that.
    """
    limits = StoreLimits(connections_max=1)
    epoch = secrets.token_hex(8)
    pool = await open_pool(url, limits)
    try:
        async with transaction(pool, limits, READ_COMMITTED) as connection:
            done = await connection.execute("UPDATE store_meta SET store_epoch = $1", epoch)
    finally:
        await pool.close()
    if done != "UPDATE 1":
        raise StoreFailed("the database holds no store")
    return epoch
