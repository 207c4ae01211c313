"""
How the command starts processes of ours.
"""

import subprocess
import sys

from tests.processes import tree_environment

# Python that runs between fork and exec says so on stderr.
STARTS = """
import asyncio, os, uvloop
from omen_cli.running.process import PIPE, started

os.register_at_fork(after_in_child=lambda: os.write(2, b"Python runs in the child before exec"))

async def main():
    process = started("this", stdout=PIPE)
    first = await process.line()
    rest, _ = await process.said()
    print(await process.wait(), process.returncode, len(first) > 0, len(rest) > 0)

uvloop.run(main())
"""


def test_no_python_runs_between_fork_and_exec() -> None:
    """
    A child is a new program at once, also on uvloop: in a copy of us the locks of our other threads stay taken.
    """
    done = subprocess.run(
        [sys.executable, "-c", STARTS], capture_output=True, text=True, timeout=60, check=False, env=tree_environment()
    )
    assert (done.stdout, done.stderr) == ("0 0 True True\n", "")
