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

from tests.clients.command import OMEN, Here, omen
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


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """
    Return the command, to be run inside this process.
    """
    return Here(monkeypatch, capfd)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """
    Run OMEN, RiskCast and a reconciler that waits to be told, and return the environment that leads the command there.

    Tests share them: each brings signals of its own, and finds those of the others beside them.
    """
    place = tmp_path_factory.mktemp("servers")
    pair: list[str | Path] = [OMEN, "up", "-o", "json", "--port=0", "--metrics-port=0", f"--data-dir={place}"]
    with serving(pair) as up:
        addresses = {name: str(up[name]["address"]) for name in ("omen", "riskcast")}
        flags = [f"--{name}={address}" for name, address in addresses.items()]
        own = ("--listen=127.0.0.1:0", "--metrics-port=0", f"--state=sqlite:///{place}/state.db", "--interval=86400")
        line = [str(OMEN.with_name("omen-reconciler")), *flags, *own]
        with serving(line) as reconciler:
            addresses["reconciler"] = reconciler["address"]
            environment = {f"{name.upper()}_ADDRESS": address for name, address in addresses.items()}
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
