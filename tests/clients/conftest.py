"""
A small ledger and its backup, written once and copied for each test that wants them.
"""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.clients.command import omen
from tests.clients.ledgers import write_small


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return a ledger that no test may change: a sealed day in three segments, late arrivals, an open day.
    """
    place = tmp_path_factory.mktemp("written") / "ledger"
    asyncio.run(write_small(place))
    return place


@pytest.fixture(scope="session")
def backup(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return a backup of that ledger.
    """
    place = tmp_path_factory.mktemp("backup") / "copy"
    assert omen("ledger", "backup", written, place).code == 0
    return place


@pytest.fixture
def ledger(written: Path, tmp_path: Path) -> Path:
    """
    Return a copy of the ledger, to be spoiled.
    """
    place = tmp_path / "data" / "ledger"
    shutil.copytree(written, place)
    return place
