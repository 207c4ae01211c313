"""
The `omen` command as a user would run it, from this tree.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from omen_cli.app import run
from tests.processes import tree_environment

TIMEOUT_S = 60
OMEN = Path(sys.executable).parent / "omen"


@dataclass(frozen=True)
class Ended:
    """
    How a command ended.
    """

    code: int
    out: str
    err: str


def omen(*arguments: str | Path, said: str = "", **environment: str) -> Ended:
    """
    Run the command to its end, with *said* on stdin.
    """
    done = subprocess.run(
        [OMEN, *map(str, arguments)],
        input=said,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=tree_environment() | environment,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Here:
    """
    Runs the command inside the test's own process, which saves starting Python; what it prints is taken all the same.
    """

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path, **environment: str) -> Ended:
        """
        Run one command line to its end.
        """
        for name, value in (tree_environment() | environment).items():
            self.patch.setenv(name, value)
        self.capture.readouterr()
        code = run([str(each) for each in arguments])
        out, err = self.capture.readouterr()
        return Ended(code, out, err)
