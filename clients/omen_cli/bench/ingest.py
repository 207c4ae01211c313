import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.bench.figures import Figure, machine
from omen_cli.bench.ingesting import CASES, measure
from omen_cli.child import Child, Plan
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows, say
from omen_cli.progress import Bar

COLUMNS = ("case", "producers", "batch", "rate_per_s", "p50_ms", "p90_ms", "p99_ms", "p999_ms")


async def ingest(
    *,
    store: Annotated[
        str,
        Parameter(help="A postgresql:// URL; nobody empties it afterwards. Without it a SQLite file is made."),
    ] = "",
    dir: Annotated[Path, Parameter(help="On which disk: a directory of its own is made in it, and removed.")] = Path(),  # noqa: A002 - the flag's name
    seconds: Annotated[float, Parameter(help="How long all of it may take, about.")] = 30.0,
    output: Output = "text",
) -> int:
    """
    Measure RiskCast on this machine: single calls, coalesced callers, batches, duplicates, beside an echo.

    It starts a server of its own, and ends it. A rate counts signals; latencies are of one call.

    Example: omen bench ingest --seconds 20 -o json
    """
    if not dir.is_dir() or seconds <= 0:
        text = f"there is no directory {dir}" if seconds > 0 else "--seconds is to be more than 0"
        raise exits.Stopped(exits.USAGE, "USAGE", text, "omen bench ingest --help tells what it takes.")
    figures: list[Figure] = []
    with TemporaryDirectory(prefix="omen-bench-", dir=dir) as place, Bar("bench ingest") as bar:
        url = store or f"sqlite:///{place}/riskcast.db"
        server = Child(plan(Path(place), url), say)
        try:
            await server.start()
            async for figure in measure(server.plan.address, seconds):
                figures.append(figure)
                bar.move(len(figures), CASES, "cases")
        finally:
            with suppress(asyncio.CancelledError):
                await server.stop()
    print_figures(output, figures, {"store": url.partition(":")[0], **machine(dir)})
    return exits.OK


def print_figures(output: Output, figures: list[Figure], about: dict[str, Any]) -> None:
    """
    Print the table, the two ratios that matter, and what they depend on.
    """
    rows = [figure.row() for figure in figures]
    rates = {(figure.case, figure.producers): figure.rate_per_s for figure in figures}
    ratios = {
        "raw_unary_to_echo": round(rates["raw unary", 64] / rates["echo", 64], 2),
        "coalesced_64_to_raw_unary": round(rates["coalesced", 64] / rates["raw unary", 64], 2),
    }
    if output == "json":
        print_one("json", {"figures": rows, **ratios, **about})
    elif output == "jsonl":
        print_rows("jsonl", [row | about for row in rows], COLUMNS)
    else:
        print_rows("text", rows, COLUMNS)
        print()
        print_one("text", {**ratios, **about})


def plan(place: Path, store: str) -> Plan:
    """
    Return how to run a RiskCast that nobody else uses.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    flags = (f"--listen={address}", "--metrics-port=0", f"--store={store}", "--log-level=warning")
    return Plan("RiskCast", "riskcast_server", address, flags, place / "riskcast.log")
