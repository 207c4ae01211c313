from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.full_disk import mounted_small_disk

FIGURES = pytest.StashKey[Any]()


def pytest_configure(config: pytest.Config) -> None:
    """
    Make a place for figures.
    """
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """
    Print what was measured on the way. Nothing of it is asserted.
    """
    if config.stash.get(FIGURES, []):
        terminalreporter.section("measured end to end")
        for line in sorted(config.stash[FIGURES]):
            terminalreporter.write_line(line)


@pytest.fixture
def figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """
    Return what keeps a line for the end of the run.
    """
    lines: list[str] = pytestconfig.stash[FIGURES]
    return lines.append


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """
    Return a file system of 4 MiB that is the test's own.
    """
    with mounted_small_disk(tmp_path / "small") as place:
        yield place
