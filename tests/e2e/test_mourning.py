"""
A server whose inner work has ended does not go on looking alive.
"""

import asyncio
import json
import sys
from pathlib import Path

import pytest

# The server itself, with one of its tasks broken in a way that nobody has foreseen.
SCRIPT = """
import sys
from omen_server import __main__ as program
from omen_server.index.follower import Follower
from omen_server.poller import Poller

async def breaks(self):
    raise RuntimeError("a bug")

{work}.run = breaks
sys.exit(program.main())
"""


@pytest.mark.parametrize(("work", "task"), [("Follower", "index"), ("Poller", "poller")])
async def test_the_process_ends_with_its_work(tmp_path: Path, work: str, task: str) -> None:
    """
    When the index's follower or the poller ends by a bug, the process says which and ends with 70: it is started again.
    """
    flags = ["--listen=127.0.0.1:0", "--metrics-port=0", f"--data-dir={tmp_path}", "--poll=stub=3600"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT.format(work=work), *flags, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
    lines = [json.loads(line) for line in said.decode().splitlines()]
    (ended,) = [line for line in lines if line["event"] == "task_ended"]
    assert (ended["task"], ended["exit_code"], process.returncode) == (task, 70, 70)
