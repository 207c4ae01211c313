"""
Desks in a test's own directory.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from omen_server.desk.desk import Desk, open_desk
from omen_server.desk.settings import DeskSettings
from tests.omen_server.pipeline.raw_events import RULES


@asynccontextmanager
async def desk_in(place: Path, **limits: Any) -> AsyncIterator[Desk]:
    """
    Open the desk in *place* with some limits changed.
    """
    async with open_desk(place / "desk.db", RULES, DeskSettings(**limits)) as desk:
        yield desk


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """
    Hold the database's lock as a backup tool might.
    """
    database = sqlite3.connect(place / "desk.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.close()
