"""
PostgreSQL 14 or later, for whoever runs one anyway. Several reconcilers may open it; the lease lets one work.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from omen_storage.postgres.connection import open_database
from omen_storage.postgres.limits import Limits
from omen_storage.postgres.schema import migrate
from reconciler.state import State
from reconciler.state.errors import FAULTS
from reconciler.state.limits import StateLimits
from reconciler.state.postgres.control import PostgresControl
from reconciler.state.postgres.parked import PostgresParked
from reconciler.state.postgres.runs import PostgresRuns
from reconciler.state.postgres.schema import own_schema
from reconciler.state.postgres.success import PostgresSuccess


@asynccontextmanager
async def open_postgres(url: str, limits: StateLimits) -> AsyncIterator[State]:
    """
    Open the database at *url*, which others may have open: see `open_state`.
    """
    async with open_database(url, Limits(), FAULTS) as database:
        version = await database.engine()
        await migrate(database, own_schema())
        runs, parked = PostgresRuns(database, limits), PostgresParked(database, limits)
        yield State(runs, parked, PostgresControl(database), PostgresSuccess(database), version)
