"""
A ledger on real files with a clock that the test moves, and all that is in it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from omen_server.ledger.directory import open_ledger
from omen_server.ledger.durable import Disk
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.partition import Gap
from omen_server.ledger.segment import Record
from omen_server.ledger.settings import LedgerSettings
from tests.crash.records import NOON, NOTES


@dataclass(slots=True)
class Clock:
    """
    The time, as far as the ledger knows.
    """

    now: datetime = NOON

    def __call__(self) -> datetime:
        """
        Return the time.
        """
        return self.now


Opener = Callable[..., AbstractAsyncContextManager[Ledger]]


@pytest.fixture
def clock() -> Clock:
    """
    Return a clock that stands at noon of the demo day.
    """
    return Clock()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """
    Return where the ledger lies.
    """
    return tmp_path / "ledger"


@pytest.fixture
def opened(place: Path, clock: Clock) -> Opener:
    """
    Return what opens the ledger, again and again, with the limits a test wants.
    """
    return opener(place, clock)


def opener(place: Path, clock: Clock) -> Opener:
    """
    Return the same for anybody.
    """

    @asynccontextmanager
    async def open_here(disk: Disk | None = None, **limits: float) -> AsyncIterator[Ledger]:
        settings = LedgerSettings(**{"ballast_bytes": 4096, "resume_free_bytes": 0, **limits})  # type: ignore[arg-type]
        async with open_ledger(place, NOTES, settings, clock, disk) as ledger:
            yield ledger

    return open_here


async def records(ledger: Ledger, after_offset: int = 0) -> list[Record]:
    """
    Return every record behind an offset; a gap is a failure.
    """
    found = [item async for batch in ledger.read(after_offset) for item in batch]
    assert not [item for item in found if isinstance(item, Gap)]
    return [item for item in found if isinstance(item, Record)]
