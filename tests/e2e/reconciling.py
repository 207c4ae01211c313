"""
The reconciler as processes: one that serves, and runs of one round, beside the OMEN and the RiskCast of a place.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from omen_client.reconcile import ReconcileClient
from tests.e2e.pair import to_riskcast
from tests.processes import ServerProcess, running, tree_environment


@dataclass(frozen=True)
class Ended:
    """
    How a run ended.
    """

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """
        What it said on stdout.
        """
        return self.out.splitlines()


def flags_of(place: Path) -> tuple[str, ...]:
    """
    Return the flags that lead to both servers of a place, and to its state.
    """
    return (f"--omen=unix:{place}/omen.sock", to_riskcast(place), f"--state=sqlite:///{place}/reconcile.db")


async def begun(place: Path, *flags: str) -> asyncio.subprocess.Process:
    """
    Begin a round.
    """
    return await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "omen-reconciler",
        "run",
        *flags_of(place),
        *flags,
        env=tree_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ran(place: Path, *flags: str) -> Ended:
    """
    Make one round, as a cron job would.
    """
    process = await begun(place, *flags)
    async with asyncio.timeout(50):
        out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


@asynccontextmanager
async def reconciler(place: Path, *flags: str) -> AsyncIterator[tuple[ServerProcess, ReconcileClient]]:
    """
    Run a reconciler that goes round by itself, with a client of it.
    """
    listen = f"--listen=unix:{place}/reconciler.sock"
    async with (
        running("omen-reconciler", *flags_of(place), listen, *flags, cwd=place) as server,
        ReconcileClient(server.address) as client,
    ):
        yield server, client
