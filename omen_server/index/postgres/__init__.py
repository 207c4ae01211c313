"""
PostgreSQL 14 or later, for whoever runs one anyway. One OMEN a database.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import asyncpg

from omen_server.index import Index
from omen_server.index.errors import IndexFailed, IndexFault, IndexLocked
from omen_server.index.postgres.connection import CONNECT_TIMEOUT_S, READ, open_pool, transaction, translated
from omen_server.index.postgres.lookup import PostgresLookup
from omen_server.index.postgres.projection import PostgresProjection
from omen_server.index.postgres.schema import migrate, migrations

VERSION_MIN: Final = 140_000

# Held by a session of its own for as long as the index is open. Any number will do, if every OMEN takes the same.
_OWNER_LOCK: Final = 0x4F4D454E4F574E52


@asynccontextmanager
async def open_postgres(url: str, looked_rows_max: int) -> AsyncIterator[Index]:
    """
    Open the database at *url*, alone: see `open_index`.

    A session that breaks loses its lock, and it is not taken again: the mark says whose the table is, to each write.
    """
    async with AsyncExitStack() as stack:
        pool = await open_pool(url)
        stack.push_async_callback(pool.close)
        async with transaction(pool, READ) as connection:
            number = int(await connection.fetchval("SHOW server_version_num"))
            version = str(await connection.fetchval("SHOW server_version"))
        if number < VERSION_MIN:
            raise IndexFailed(f"PostgreSQL {version} is older than {VERSION_MIN // 10_000}")
        await stack.enter_async_context(_owned(url))
        await migrate(pool, migrations())
        lookup = PostgresLookup(pool, looked_rows_max)
        yield Index(PostgresProjection(pool), lookup, f"PostgreSQL {version}", shared=True)


@asynccontextmanager
async def _owned(url: str) -> AsyncIterator[None]:
    with translated():
        session = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    try:
        with translated():
            if not await session.fetchval("SELECT pg_try_advisory_lock($1)", _OWNER_LOCK):
                raise IndexLocked("The index in PostgreSQL")
        yield
    finally:
        with suppress(IndexFault), translated():
            await session.close(timeout=CONNECT_TIMEOUT_S)
