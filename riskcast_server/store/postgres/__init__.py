"""
PostgreSQL 14 or later, for several servers on one database.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from riskcast_server.store import Store
from riskcast_server.store.errors import StoreFailed
from riskcast_server.store.limits import Clock, NewAck, StoreLimits
from riskcast_server.store.postgres.connection import SNAPSHOT, open_pool, transaction
from riskcast_server.store.postgres.positions import PostgresPositions
from riskcast_server.store.postgres.schema import migrate, migrations
from riskcast_server.store.postgres.signals import PostgresSignals
from riskcast_server.store.postgres.writer import Writers

# The first with multiranges and bit_xor().
VERSION_MIN: Final = 140_000


@asynccontextmanager
async def open_postgres(url: str, limits: StoreLimits, now: Clock, ack: NewAck) -> AsyncIterator[Store]:
    """
    Open the database at *url*, which others may have open: see `open_store`.
    """
    async with AsyncExitStack() as stack:
        pool = await open_pool(url, limits)
        stack.push_async_callback(pool.close)
        async with transaction(pool, limits, SNAPSHOT) as connection:
            number = int(await connection.fetchval("SHOW server_version_num"))
            version = str(await connection.fetchval("SHOW server_version"))
        if number < VERSION_MIN:
            raise StoreFailed(f"PostgreSQL {version} is older than {VERSION_MIN // 10_000}")
        await migrate(pool, limits, migrations())
        writers = Writers(pool, limits, now, ack)
        stack.push_async_callback(writers.close)
        yield Store(PostgresSignals(pool, limits, writers), PostgresPositions(pool, limits), f"PostgreSQL {version}")
