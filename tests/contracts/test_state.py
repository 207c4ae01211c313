from functools import partial
from pathlib import Path

import pytest

from reconciler.state import open_state
from tests.contracts.exercise_parked import PARKED_EXERCISES
from tests.contracts.exercise_state import RUNS_EXERCISES, Exercise
from tests.contracts.memory_state import MemoryState, open_memory

EXERCISES = [*RUNS_EXERCISES, *PARKED_EXERCISES]
_IDS = [exercise.__name__ for exercise in EXERCISES]


@pytest.mark.parametrize("exercise", EXERCISES, ids=_IDS)
async def test_memory(exercise: Exercise) -> None:
    """
    The fake keeps the contract.
    """
    await exercise(partial(open_memory, MemoryState()))


@pytest.mark.parametrize("exercise", EXERCISES, ids=_IDS)
async def test_sqlite(exercise: Exercise, tmp_path: Path) -> None:
    """
    SQLite keeps the contract.
    """
    await exercise(partial(open_state, f"sqlite:///{tmp_path}/reconcile.db"))


@pytest.mark.parametrize("exercise", EXERCISES, ids=_IDS)
async def test_postgres(exercise: Exercise, postgres_url: str) -> None:
    """
    PostgreSQL keeps the contract.
    """
    await exercise(partial(open_state, postgres_url))
