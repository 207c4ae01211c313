"""
The `omen` command as a user would run it, from this tree.
"""

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from unittest.mock import patch

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


def inside(*arguments: str | Path, **environment: str) -> Ended:
    """
    Run the command in this process, which saves a line among many its start; the servers it talks to are real.
    """
    own = patch.dict(os.environ, tree_environment() | environment)
    told, said = (TextIOWrapper(BytesIO(), "utf-8") for _ in range(2))
    with redirect_stdout(told), redirect_stderr(said), own:
        code = run([str(each) for each in arguments])
    return Ended(code, *(written(each) for each in (told, said)))


def written(stream: TextIOWrapper) -> str:
    """
    Return what was written to a stream.
    """
    stream.seek(0)
    return stream.read()
