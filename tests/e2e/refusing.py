"""
Servers that must not start.
"""

import subprocess
import sys
from pathlib import Path

from tests.processes import tree_environment

BIN = Path(sys.executable).parent


def refused(program: str, *arguments: str, **environment: str) -> str:
    """
    Run a server that must not start, and return the one line that it says.
    """
    done = subprocess.run(
        [BIN / program, "--listen=127.0.0.1:0", "--metrics-port=0", *arguments],
        env=tree_environment() | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{program}: ")
    return line.removeprefix(f"{program}: ")
