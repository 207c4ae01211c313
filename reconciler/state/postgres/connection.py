"""
Connections to one PostgreSQL database: how their transactions are set, and what their errors mean.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from reconciler.state.errors import StateError, StateFailed, StateUnavailable

Pool: TypeAlias = "asyncpg.Pool[Any]"
# What a pool lends; to its users it is a connection.
Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 10.0
CONNECTIONS_MAX: Final = 4

READ: Final = "REPEATABLE READ, READ ONLY"
# Said each time: a database may be set to answer before its disk has it.
WRITE: Final = "READ COMMITTED; SET LOCAL synchronous_commit = on"

# SQLSTATE classes in which retrying is right: connection lost, transaction rolled back, resources, operator, lock.
_TRANSIENT_CLASSES: Final = ("08", "40", "53", "55", "57")
# Another server was promoted, and the pool will find it; or the event loop was held up in mid-transaction.
_TRANSIENT: Final = ("25006", "25P03")
# InternalClientError: the server has ended the connection, and the driver has not read its last words yet.
_UNREACHABLE: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


async def open_pool(url: str) -> Pool:
    """
    Open the pool. Nothing is set on its sessions, so that behind a PgBouncer none leaks to the next who borrows one.
    """
    with translated():
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=CONNECTIONS_MAX,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=2 * STATEMENT_TIMEOUT_S,
            reset=_nothing,
        )


@asynccontextmanager
async def transaction(pool: Pool, kind: str) -> AsyncIterator[Connection]:
    """
    Commit what the block does, or leave no trace of it. The limits go with BEGIN, in the same round trip.
    """
    timeout_ms = int(STATEMENT_TIMEOUT_S * 1000)
    with translated():
        async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
            try:
                await connection.execute(
                    f"BEGIN ISOLATION LEVEL {kind}; SET LOCAL statement_timeout = {timeout_ms}; "
                    f"SET LOCAL lock_timeout = {timeout_ms}; "
                    f"SET LOCAL idle_in_transaction_session_timeout = {timeout_ms}"
                )
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                await _roll_back(connection)
                raise


async def rows(pool: Pool, sql: str, *parameters: object) -> list[Any]:
    """
    Return what *sql* answers, from a snapshot.
    """
    async with transaction(pool, READ) as connection:
        return list(await connection.fetch(sql, *parameters))


async def change(pool: Pool, sql: str, *parameters: object) -> int:
    """
    Run *sql* in a transaction of its own, and return how many rows it changed.
    """
    async with transaction(pool, WRITE) as connection:
        status = await connection.execute(sql, *parameters)
    return int(status.rpartition(" ")[2])


@contextmanager
def translated() -> Iterator[None]:
    """
    Raise a `StateError` for whatever the driver raises inside.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _meaning(error) from error
    except _UNREACHABLE as error:
        raise StateUnavailable(f"PostgreSQL cannot be reached: {type(error).__name__}") from error


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, *_UNREACHABLE):
        connection.terminate()  # The server rolls back, and the pool makes another.


async def _nothing(_connection: Connection) -> None:
    pass


def _meaning(error: asyncpg.PostgresError) -> StateError:
    state = error.sqlstate or ""
    text = f"PostgreSQL says {type(error).__name__} ({state})"
    if state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT:
        return StateUnavailable(text)
    return StateFailed(text)
