"""
PostgreSQL 14 or later, for whoever runs one anyway. Several reconcilers may open it; the lease lets one work.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from reconciler.state import State
from reconciler.state.errors import StateFailed
from reconciler.state.limits import StateLimits
from reconciler.state.postgres.connection import READ, open_pool, transaction
from reconciler.state.postgres.control import PostgresControl
from reconciler.state.postgres.parked import PostgresParked
from reconciler.state.postgres.runs import PostgresRuns
from reconciler.state.postgres.schema import migrate, migrations
from reconciler.state.postgres.success import PostgresSuccess

VERSION_MIN: Final = 140_000


@asynccontextmanager
async def open_postgres(url: str, limits: StateLimits) -> AsyncIterator[State]:
    """
    Open the database at *url*, which others may have open: see `open_state`.
    """
    async with AsyncExitStack() as stack:
        pool = await open_pool(url)
        stack.push_async_callback(pool.close)
        async with transaction(pool, READ) as connection:
            number = int(await connection.fetchval("SHOW server_version_num"))
            version = str(await connection.fetchval("SHOW server_version"))
        if number < VERSION_MIN:
            raise StateFailed(f"PostgreSQL {version} is older than {VERSION_MIN // 10_000}")
        await migrate(pool, migrations())
        runs, parked = PostgresRuns(pool, limits), PostgresParked(pool, limits)
        yield State(runs, parked, PostgresControl(pool), PostgresSuccess(pool), f"PostgreSQL {version}")
