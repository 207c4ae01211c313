"""
Connections to one PostgreSQL database: how their transactions are set, and what their errors mean.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from omen_server.index.errors import IndexFailed, IndexFault, IndexUnavailable

Pool: TypeAlias = "asyncpg.Pool[Any]"
# What a pool lends; to its users it is a connection.
Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 10.0
CONNECTIONS_MAX: Final = 4

READ: Final = "REPEATABLE READ, READ ONLY"
# What a crash of the database loses is read from the ledger again, so no commit waits for its disk.
WRITE: Final = "READ COMMITTED; SET LOCAL synchronous_commit = off"

# SQLSTATE classes in which retrying is right: connection lost, transaction rolled back, resources, operator, lock.
_TRANSIENT_CLASSES: Final = ("08", "40", "53", "55", "57")
_READ_ONLY_TRANSACTION: Final = "25006"  # Another server was promoted; the pool will find it.
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
async def transaction(
    pool: Pool, kind: str, statement_timeout_s: float = STATEMENT_TIMEOUT_S
) -> AsyncIterator[Connection]:
    """
    Commit what the block does, or leave no trace of it. The limits go with BEGIN, in the same round trip.
    """
    timeout_ms = int(statement_timeout_s * 1000)
    with translated():
        async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
            try:
                await connection.execute(
                    f"BEGIN ISOLATION LEVEL {kind}; SET LOCAL jit = off; SET LOCAL statement_timeout = {timeout_ms}; "
                    f"SET LOCAL lock_timeout = {timeout_ms}; "
                    f"SET LOCAL idle_in_transaction_session_timeout = {timeout_ms}"
                )
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                await _roll_back(connection)
                raise


@contextmanager
def translated() -> Iterator[None]:
    """
    Raise an `IndexFault` for whatever the driver raises inside.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _meaning(error) from error
    except _UNREACHABLE as error:
        raise IndexUnavailable(f"PostgreSQL cannot be reached: {type(error).__name__}") from error


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, *_UNREACHABLE):
        connection.terminate()  # The server rolls back, and the pool makes another.


async def _nothing(_connection: Connection) -> None:
    pass


def _meaning(error: asyncpg.PostgresError) -> IndexFault:
    state = error.sqlstate or ""
    text = f"PostgreSQL says {type(error).__name__} ({state})"
    if state[:2] in _TRANSIENT_CLASSES or state == _READ_ONLY_TRANSACTION:
        return IndexUnavailable(text)
    return IndexFailed(text)
