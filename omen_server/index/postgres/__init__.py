"""
PostgreSQL 14 or later, for whoever runs one anyway. One OMEN a database.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import asyncpg

from omen_server.index import Index
from omen_server.index.errors import FAULTS, IndexFault, IndexLocked
from omen_server.index.postgres.lookup import PostgresLookup
from omen_server.index.postgres.projection import PostgresProjection
from omen_server.index.postgres.schema import own_schema
from omen_storage.postgres.connection import open_database, translated
from omen_storage.postgres.limits import Limits
from omen_storage.postgres.schema import migrate

LIMITS: Final = Limits()

# Held by a session of its own for as long as the index is open. Any number will do, if every OMEN takes the same.
_OWNER_LOCK: Final = 0x4F4D454E4F574E52


@asynccontextmanager
async def open_postgres(url: str, looked_rows_max: int) -> AsyncIterator[Index]:
    """
    Open the database at *url*, alone: see `open_index`.

    A session that breaks loses its lock, and it is not taken again: the mark says whose the table is, to each write.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(url, LIMITS, FAULTS))
        version = await database.engine()
        await stack.enter_async_context(_owned(url))
        await migrate(database, own_schema())
        yield Index(PostgresProjection(database), PostgresLookup(database, looked_rows_max), version, shared=True)


@asynccontextmanager
async def _owned(url: str) -> AsyncIterator[None]:
    with translated(FAULTS):
        session = await asyncpg.connect(url, timeout=LIMITS.connect_timeout_s)
    try:
        with translated(FAULTS):
            if not await session.fetchval("SELECT pg_try_advisory_lock($1)", _OWNER_LOCK):
                raise IndexLocked("The index in PostgreSQL")
        yield
    finally:
        with suppress(IndexFault), translated(FAULTS):
            await session.close(timeout=LIMITS.connect_timeout_s)
