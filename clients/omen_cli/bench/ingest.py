from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.bench.figures import Figure, machine
from omen_cli.bench.ingesting import CASES, measure
from omen_cli.bench.servers import check_place
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows
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

    It starts servers of its own, and ends them. The echo takes the same calls and keeps nothing. A rate counts signals;
    latencies are of one call.

    Example: omen bench ingest --seconds 20 -o json
    """
    check_place(dir, seconds, "ingest")
    figures: list[Figure] = []
    with TemporaryDirectory(prefix="omen-bench-", dir=dir) as place, Bar("bench ingest") as bar:
        async for figure in measure(Path(place), store, seconds):
            figures.append(figure)
            bar.move(len(figures), CASES, "cases")
    print_figures(output, figures, {"store": store.partition(":")[0] or "sqlite", **machine(dir)})
    return exits.OK


def print_figures(output: Output, figures: list[Figure], about: dict[str, Any]) -> None:
    """
    Print the table, the ratios that matter, and what they depend on.
    """
    rows = [figure.row() for figure in figures]
    rates = {(figure.case, figure.producers): figure.rate_per_s for figure in figures}
    ratios = {
        "raw_unary_to_echo": round(rates["raw unary", 64] / rates["echo", 64], 2),
        "raw_unary_to_health_check": round(rates["raw unary", 64] / rates["health check", 64], 2),
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
