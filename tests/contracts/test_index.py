from functools import partial
from pathlib import Path

import pytest

from omen_server.index import open_index
from tests.contracts.exercise_index import INDEX_EXERCISES, Exercise
from tests.contracts.memory_index import MemoryIndex, open_memory

_IDS = [exercise.__name__ for exercise in INDEX_EXERCISES]


@pytest.mark.parametrize("exercise", INDEX_EXERCISES, ids=_IDS)
async def test_memory(exercise: Exercise) -> None:
    """
    The fake keeps the contract.
    """
    await exercise(partial(open_memory, MemoryIndex()))


@pytest.mark.parametrize("exercise", INDEX_EXERCISES, ids=_IDS)
async def test_sqlite(exercise: Exercise, tmp_path: Path) -> None:
    """
    SQLite keeps the contract.
    """
    await exercise(partial(open_index, f"sqlite:///{tmp_path}/index.db"))


@pytest.mark.parametrize("exercise", INDEX_EXERCISES, ids=_IDS)
async def test_postgres(exercise: Exercise, postgres_url: str) -> None:
    """
    PostgreSQL keeps the contract.
    """
    await exercise(partial(open_index, postgres_url))
