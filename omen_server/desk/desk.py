"""
The desk: what lies about for somebody to decide on, and what the rules remember. One small SQLite database.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from omen_server.desk.connection import connect_writer, translated
from omen_server.desk.dead_letters import DeadLetters
from omen_server.desk.errors import FAULTS, DeskLocked
from omen_server.desk.peers import Peers, kept
from omen_server.desk.price_history import PriceHistory
from omen_server.desk.reader import Reader
from omen_server.desk.rejected import Rejected
from omen_server.desk.schema import migrate
from omen_server.desk.settings import DeskSettings
from omen_server.desk.writer import Writer
from omen_server.pipeline.ruleset import Ruleset
from omen_storage.lock_file import owned
from omen_storage.sqlite.connection import engine
from omen_storage.sqlite.database_file import make_private


@dataclass(frozen=True, slots=True)
class Desk:
    """
    What lies on it. Made by `open_desk`.
    """

    dead_letters: DeadLetters
    rejected: Rejected
    history: PriceHistory
    peers: Peers


@asynccontextmanager
async def open_desk(
    path: Path, rules: Ruleset | None = None, settings: DeskSettings | None = None
) -> AsyncIterator[Desk]:
    """
    Open the desk at *path*, alone, making it if it is not there. Leaving writes what is still in memory.

    Raises `DeskLocked`, `DeskTooNew` and `DeskFailed`, for which the process must not start.
    """
    rules, settings = rules or Ruleset(), settings or DeskSettings()
    engine(FAULTS)
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(path, DeskLocked))
        await asyncio.to_thread(make_private, path)
        with translated(path):
            connection = await connect_writer(path, settings.busy_timeout_ms)
            try:
                await migrate(connection)
            except BaseException:
                await connection.close()
                raise
        writer = Writer(connection, path, settings)
        stack.push_async_callback(writer.close)
        # Closed before the writer, so that nobody keeps the log from being moved into the database.
        reader = Reader(path, settings)
        stack.push_async_callback(reader.close)
        desk = Desk(
            DeadLetters(writer, reader, path, settings),
            Rejected(writer, reader, settings),
            PriceHistory(writer, reader, settings),
            Peers(writer, rules, settings, await kept(reader, rules, settings)),
        )
        await desk.dead_letters.begin()
        await desk.rejected.begin()
        yield desk
