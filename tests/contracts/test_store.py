from pathlib import Path

import pytest

from tests.contracts.exercise_database import DATABASE_EXERCISES, DatabaseExercise
from tests.contracts.exercise_positions import POSITION_EXERCISES, coverage_is_the_set_difference, coverage_over_blocks
from tests.contracts.exercise_store import SIGNAL_EXERCISES, Exercise
from tests.contracts.memory_store import Memory, open_memory
from tests.contracts.store_engines import PostgresDatabase, SqliteDatabase, opener, watch_commits

EXERCISES = [*SIGNAL_EXERCISES, *POSITION_EXERCISES]
_IDS = [exercise.__name__ for exercise in EXERCISES]
_DATABASE_IDS = [exercise.__name__ for exercise in DATABASE_EXERCISES]


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


@pytest.mark.parametrize("exercise", DATABASE_EXERCISES, ids=_DATABASE_IDS)
async def test_sqlite_database(exercise: DatabaseExercise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    SQLite keeps what it promised when things go wrong.
    """
    await exercise(SqliteDatabase(tmp_path / "riskcast.db"), watch_commits(monkeypatch))


@pytest.mark.parametrize("exercise", DATABASE_EXERCISES, ids=_DATABASE_IDS)
async def test_postgres_database(
    exercise: DatabaseExercise, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    PostgreSQL keeps what it promised when things go wrong.
    """
    await exercise(PostgresDatabase(postgres_url), watch_commits(monkeypatch))


@pytest.mark.prove
@pytest.mark.parametrize("nth", range(20))
async def test_sqlite_histories(nth: int, tmp_path: Path) -> None:
    """
    Over thousands of histories SQLite's coverage is the set difference.
    """
    await coverage_is_the_set_difference(opener(f"sqlite:///{tmp_path}/small-{nth}.db"))
    await coverage_over_blocks(opener(f"sqlite:///{tmp_path}/large-{nth}.db"))


@pytest.mark.prove
@pytest.mark.parametrize("nth", range(20))
async def test_postgres_histories(nth: int, postgres_url: str) -> None:
    """
    Over thousands of histories PostgreSQL's coverage is the set difference.
    """
    await (coverage_is_the_set_difference if nth % 2 else coverage_over_blocks)(opener(postgres_url))
