"""
Connections to one PostgreSQL database: how their transactions are set, and what their errors mean.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import asyncpg

from riskcast_server.store.errors import StoreError, StoreFailed, StoreFull, StoreUnavailable
from riskcast_server.store.limits import StoreLimits

Pool: TypeAlias = "asyncpg.Pool[Any]"
# What a pool lends; to its users it is a connection.
Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

READ_COMMITTED = "READ COMMITTED"
SNAPSHOT = "REPEATABLE READ, READ ONLY"

# SQLSTATE classes in which retrying is right: connection lost, transaction rolled back, resources, operator, lock.
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57")
_READ_ONLY_TRANSACTION = "25006"  # Another server was promoted; the pool will find it.
_IDLE_IN_TRANSACTION = "25P03"
_DISK_FULL = "53100"

# InternalClientError: the server has ended the connection, and the driver has not read its last words yet.
_UNREACHABLE = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


async def open_pool(url: str, limits: StoreLimits) -> Pool:
    """
    Open the pool. Nothing is set on its sessions, so that behind a PgBouncer none leaks to the next who borrows one.
    """
    with translated():
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=limits.connections_max,
            timeout=limits.connect_timeout_s,
            command_timeout=2 * limits.statement_timeout_s,
            statement_cache_size=limits.statement_cache_size,
            reset=_nothing,
        )


@asynccontextmanager
async def transaction(pool: Pool, limits: StoreLimits, isolation: str) -> AsyncIterator[Connection]:
    """
    Commit what the block does, or leave no trace of it. The limits go with BEGIN, in the same round trip.
    """
    with translated():
        async with pool.acquire(timeout=limits.connect_timeout_s) as connection:
            try:
                await connection.execute(_begin(limits, isolation))
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                await _roll_back(connection)
                raise


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, *_UNREACHABLE):
        connection.terminate()  # The server rolls back, and the pool makes another.


def _begin(limits: StoreLimits, isolation: str) -> str:
    return (
        # Compiling the statements of a comparison takes longer than running them.
        f"BEGIN ISOLATION LEVEL {isolation}; SET LOCAL synchronous_commit = on; SET LOCAL jit = off; "
        f"SET LOCAL statement_timeout = {int(limits.statement_timeout_s * 1000)}; "
        f"SET LOCAL lock_timeout = {int(limits.lock_timeout_s * 1000)}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {int(limits.idle_in_transaction_timeout_s * 1000)}"
    )


async def one(connection: Connection, sql: str, *parameters: object) -> Any:
    """
    Return the one row that *sql* answers.
    """
    (row,) = await connection.fetch(sql, *parameters)
    return row


async def _nothing(_connection: Connection) -> None:
    pass


@contextmanager
def translated() -> Iterator[None]:
    """
    Raise a `StoreError` for whatever the driver raises inside.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _meaning(error) from error
    except _UNREACHABLE as error:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {type(error).__name__}") from error


def _meaning(error: asyncpg.PostgresError) -> StoreError:
    state = error.sqlstate or ""
    text = f"PostgreSQL says {type(error).__name__} ({state})"
    if state == _DISK_FULL:
        return StoreFull(text)
    if state[:2] in _TRANSIENT_CLASSES or state in (_READ_ONLY_TRANSACTION, _IDLE_IN_TRANSACTION):
        return StoreUnavailable(text)
    return StoreFailed(text)
