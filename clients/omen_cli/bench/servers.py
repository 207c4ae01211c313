"""
Servers that a measurement runs for itself, and ends.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from omen_cli import exits
from omen_cli.output import say
from omen_cli.running.child import Child, Plan


def riskcast(place: Path, store: str = "", *more: str) -> Plan:
    """
    Return how to run a RiskCast that nobody else uses.
    """
    address = free_address()
    flags = (f"--listen={address}", "--metrics-port=0", f"--store={store or f'sqlite:///{place}/riskcast.db'}")
    return Plan("RiskCast", "riskcast_server", address, (*flags, "--log-level=warning", *more), place / "riskcast.log")


def echo(place: Path) -> Plan:
    """
    Return how to run a RiskCast that keeps nothing.
    """
    address = free_address()
    flags = (f"--listen={address}", "--metrics-port=0", "--log-level=warning")
    return Plan("the echo", "omen_cli.bench.echo", address, flags, place / "echo.log")


def omen(place: Path, *more: str) -> Plan:
    """
    Return how to run an OMEN that nobody else uses.
    """
    address = free_address()
    flags = (f"--listen={address}", "--metrics-port=0", f"--data-dir={place}", "--log-level=warning")
    return Plan("OMEN", "omen_server", address, (*flags, *more), place / "omen.log")


def reconciler(place: Path, omen: str, riskcast: str, *more: str) -> Plan:
    """
    Return how to run a reconciler of these two that waits to be told: its own rounds leave a day alone that is open.
    """
    address = free_address()
    flags = (f"--listen={address}", "--metrics-port=0", f"--omen={omen}", f"--riskcast={riskcast}")
    waits = (f"--state=sqlite:///{place}/reconcile.db", "--interval=86400", "--no-include-open")
    plain = (*flags, *waits, "--log-level=warning", *more)
    return Plan("the reconciler", "reconciler", address, plain, place / "reconciler.log")


@asynccontextmanager
async def serving(plan: Plan) -> AsyncIterator[str]:
    """
    Run a server while the block runs, and yield its address.
    """
    server = Child(plan, say)
    try:
        await server.start()
        yield plan.address
    finally:
        with suppress(asyncio.CancelledError):
            await server.stop()


def check_place(directory: Path, seconds: float, verb: str) -> None:
    """
    Raise Stopped unless there is a place to measure in, and time.
    """
    if not directory.is_dir() or seconds <= 0:
        text = f"there is no directory {directory}" if seconds > 0 else "--seconds is to be more than 0"
        raise exits.Stopped(exits.USAGE, "USAGE", text, f"omen bench {verb} --help tells what it takes.")


def free_address() -> str:
    """
    Return an address on loopback that nobody listens on now.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
