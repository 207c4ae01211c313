"""
A small ledger and its backup, written once and copied for each test that wants them; and running servers.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.command import OMEN, omen
from tests.clients.ledgers import write_small
from tests.processes import tree_environment


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


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """
    Run OMEN, RiskCast and a reconciler that waits to be told, and return the environment that leads the command there.

    Tests share them: each brings signals of its own, and finds those of the others beside them.
    """
    place = tmp_path_factory.mktemp("servers")
    ports = ("--port=0", "--metrics-port=0", "--console-port=0")
    line: list[str | Path] = [OMEN, "up", "-o", "json", *ports, "--reconcile=manual", f"--data-dir={place}"]
    with serving(line) as up:
        names = ("omen", "riskcast", "reconciler")
        environment = {f"{name.upper()}_ADDRESS": str(up[name]["address"]) for name in names}
        assert omen("emit", "--example", **environment).code == 0
        yield environment


@contextmanager
def serving(line: Sequence[str | Path]) -> Iterator[dict[str, Any]]:
    """
    Run a program until the block ends, and yield the line of JSON in which it says that it serves.
    """
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=tree_environment()
    )
    assert process.stdout is not None
    try:
        said = ""
        for text in process.stdout:
            said += text
            if '"address"' in text:
                break
        else:
            pytest.fail(f"ended before it served:\n{said}")
        yield json.loads(text)
    finally:
        process.terminate()
        process.communicate(timeout=60)
