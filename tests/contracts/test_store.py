from pathlib import Path

import pytest

from tests.contracts.exercise_store import EXERCISES, Exercise
from tests.contracts.memory_store import Memory, open_memory
from tests.contracts.store_engines import opener

_IDS = [exercise.__name__ for exercise in EXERCISES]


@pytest.mark.parametrize("exercise", EXERCISES, ids=_IDS)
async def test_memory(exercise: Exercise) -> None:
    """
    The fake keeps the contract.
    """
    memory = Memory()
    await exercise(lambda **settings: open_memory(memory, **settings))


@pytest.mark.parametrize("exercise", EXERCISES, ids=_IDS)
async def test_sqlite(exercise: Exercise, tmp_path: Path) -> None:
    """
    SQLite keeps the contract.
    """
    await exercise(opener(f"sqlite:///{tmp_path}/riskcast.db"))


@pytest.mark.parametrize("exercise", EXERCISES, ids=_IDS)
async def test_postgres(exercise: Exercise, postgres_url: str) -> None:
    """
    PostgreSQL keeps the contract.
    """
    await exercise(opener(postgres_url))
