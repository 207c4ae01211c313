import asyncio
import sys
from pathlib import Path

from tests.processes import tree_environment


async def command(*line: str, said: bytes = b"") -> tuple[int, str, str]:
    """
    Run `omen` with *said* on stdin; return its exit code, stdout and stderr.
    """
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "omen",
        *line,
        env=tree_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(said)
    return process.returncode or 0, out.decode(), err.decode()
