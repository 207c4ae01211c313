"""
Desks in a test's own directory.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
