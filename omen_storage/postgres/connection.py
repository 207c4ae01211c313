"""
Connections to one PostgreSQL database: how their transactions are set, and what their errors mean.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from omen_storage.faults import Faults
from omen_storage.postgres.limits import Limits

# What a pool lends; to its users it is a connection.
Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

# The first with multiranges and bit_xor().
VERSION_MIN: Final = 140_000

# Kinds of transactions. A store that needs not wait for the disk has one of its own.
READ: Final = "REPEATABLE READ, READ ONLY"
# Said each time: a database may be set to answer before its disk has it.
DURABLE: Final = "READ COMMITTED; SET LOCAL synchronous_commit = on"

# SQLSTATE classes in which retrying is right: connection lost, transaction rolled back, resources, operator, lock.
_TRANSIENT_CLASSES: Final = ("08", "40", "53", "55", "57")
# Another server was promoted, and the pool will find it; or the event loop was held up in mid-transaction.
_TRANSIENT: Final = ("25006", "25P03")
_DISK_FULL: Final = "53100"
# InternalClientError: the server has ended the connection, and the driver has not read its last words yet.
_UNREACHABLE: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class Database:
    """
    A pool of connections. Made by `open_database`; every method may raise one of the store's faults.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]", limits: Limits, faults: Faults) -> None:
        self._pool = pool
        self._limits = limits
        self._faults = faults

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """
        Lend a connection while the block runs. A statement by itself is a transaction, without limits of ours.
        """
        with translated(self._faults):
            async with self._pool.acquire(timeout=self._limits.connect_timeout_s) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self, kind: str, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        """
        Commit what the block does, or leave no trace of it. The limits go with BEGIN, in the same round trip.

        With *timeout_s* that is the limit of each of its waits; a statement that needs it has to be told so as well.
        """
        async with self.connection() as connection:
            try:
                await connection.execute(self._begin(kind, timeout_s))
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                await _roll_back(connection)
                raise

    async def rows(self, sql: str, *parameters: object) -> list[Any]:
        """
        Return what *sql* answers, from a snapshot.
        """
        async with self.transaction(READ) as connection:
            return list(await connection.fetch(sql, *parameters))

    async def change(self, sql: str, *parameters: object) -> int:
        """
        Run *sql* in a transaction of its own, and return how many rows it changed, durably.
        """
        async with self.transaction(DURABLE) as connection:
            status = await connection.execute(sql, *parameters)
        return int(status.rpartition(" ")[2])

    async def engine(self) -> str:
        """
        Return the name and version of the server, which is new enough.
        """
        async with self.transaction(READ) as connection:
            number = int(await connection.fetchval("SHOW server_version_num"))
            version = str(await connection.fetchval("SHOW server_version"))
        if number < VERSION_MIN:
            raise self._faults.failed(f"PostgreSQL {version} is older than {VERSION_MIN // 10_000}")
        return f"PostgreSQL {version}"

    def _begin(self, kind: str, timeout_s: float | None) -> str:
        limits = self._limits
        timeouts_s = (limits.statement_timeout_s, limits.lock_timeout_s, limits.idle_in_transaction_timeout_s)
        statement_ms, lock_ms, idle_ms = (int((each if timeout_s is None else timeout_s) * 1000) for each in timeouts_s)
        return (
            # Compiling the statements of a comparison takes longer than running them.
            f"BEGIN ISOLATION LEVEL {kind}; SET LOCAL jit = off; SET LOCAL statement_timeout = {statement_ms}; "
            f"SET LOCAL lock_timeout = {lock_ms}; SET LOCAL idle_in_transaction_session_timeout = {idle_ms}"
        )


@asynccontextmanager
async def open_database(url: str, limits: Limits, faults: Faults) -> AsyncIterator[Database]:
    """
    Open the database at *url*. Nothing is set on its sessions, so that behind a PgBouncer none leaks to the next who
    borrows one.
    """
    with translated(faults):
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=limits.connections_max,
            timeout=limits.connect_timeout_s,
            command_timeout=2 * limits.statement_timeout_s,
            statement_cache_size=limits.statement_cache_size,
            reset=_nothing,
        )
    try:
        yield Database(pool, limits, faults)
    finally:
        await pool.close()


async def one(connection: Connection, sql: str, *parameters: object) -> Any:
    """
    Return the one row that *sql* answers.
    """
    (row,) = await connection.fetch(sql, *parameters)
    return row


@contextmanager
def translated(faults: Faults) -> Iterator[None]:
    """
    Raise one of *faults* for whatever the driver raises inside.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _meaning(error, faults) from error
    except _UNREACHABLE as error:
        raise faults.unavailable(f"PostgreSQL cannot be reached: {type(error).__name__}") from error


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, *_UNREACHABLE):
        connection.terminate()  # The server rolls back, and the pool makes another.


async def _nothing(_connection: Connection) -> None:
    pass


def _meaning(error: asyncpg.PostgresError, faults: Faults) -> Exception:
    state = error.sqlstate or ""
    text = f"PostgreSQL says {type(error).__name__} ({state})"
    if state == _DISK_FULL:
        return faults.full(text)
    return faults.unavailable(text) if state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT else faults.failed(text)
