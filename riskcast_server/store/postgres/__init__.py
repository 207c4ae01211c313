"""
PostgreSQL 14 or later, for several servers on one database.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from omen_storage.postgres.connection import open_database
from omen_storage.postgres.schema import migrate
from riskcast_server.store import Store
from riskcast_server.store.errors import FAULTS
from riskcast_server.store.limits import Clock, NewAcks, StoreLimits
from riskcast_server.store.postgres.positions import PostgresPositions
from riskcast_server.store.postgres.schema import own_schema
from riskcast_server.store.postgres.signals import PostgresSignals
from riskcast_server.store.postgres.writer import Writers


@asynccontextmanager
async def open_postgres(url: str, limits: StoreLimits, now: Clock, acks: NewAcks) -> AsyncIterator[Store]:
    """
    Open the database at *url*, which others may have open: see `open_store`.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(url, limits.postgres, FAULTS))
        version = await database.engine()
        await migrate(database, own_schema())
        writers = Writers(database, limits, now, acks)
        stack.push_async_callback(writers.close)
        yield Store(PostgresSignals(database, writers), PostgresPositions(database), version)
