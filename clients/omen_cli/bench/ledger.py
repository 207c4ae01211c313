from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.bench.appending import BATCH, CASES, GROUPED, measure
from omen_cli.bench.figures import Figure, machine
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows
from omen_cli.progress import Bar

SYNC_MODE = "fdatasync of every group before anybody is answered"
COLUMNS = (
    "case",
    "producers",
    "batch",
    "payload",
    "rate_per_s",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "p999_ms",
    "syncs_per_record",
    "bytes_per_record",
)


async def ledger(
    *,
    dir: Annotated[Path, Parameter(help="On which disk: a directory of its own is made in it, and removed.")] = Path(),  # noqa: A002 - the flag's name
    seconds: Annotated[float, Parameter(help="How long all of it may take, about.")] = 30.0,
    output: Output = "text",
) -> int:
    """
    Measure the ledger's engine on this machine: appends, batches, rolls, scan, verify, and a sync for each record.

    Needs no server. A rate counts records; latencies are of one call. It says what they depend on beside them.

    Example: omen bench ledger --seconds 15 -o json
    """
    if not dir.is_dir() or seconds <= 0:
        text = f"there is no directory {dir}" if seconds > 0 else "--seconds is to be more than 0"
        raise exits.Stopped(exits.USAGE, "USAGE", text, "omen bench ledger --help tells what it takes.")
    figures: list[Figure] = []
    with (
        exits.interruptible(lambda: (f"{len(figures)} of {CASES} cases are measured, and removed", "Run it again.")),
        TemporaryDirectory(prefix="omen-bench-", dir=dir) as place,
        Bar("bench ledger") as bar,
    ):
        async for figure in measure(Path(place), seconds):
            figures.append(figure)
            bar.move(len(figures), CASES, "cases")
    print_figures(output, figures, machine(dir))
    return exits.OK


def print_figures(output: Output, figures: list[Figure], where: dict[str, Any]) -> None:
    """
    Print the table and what it depends on.
    """
    rows = [figure.row() for figure in figures]
    gain = ratio(figures)
    about = {
        "sync_mode": SYNC_MODE,
        "batch_records_max": GROUPED.batch_records_max,
        "times_a_sync_each": gain,
        **where,
    }
    if output == "json":
        print_one("json", {"figures": rows, **about})
    elif output == "jsonl":
        print_rows("jsonl", [row | {"sync_mode": SYNC_MODE, **where} for row in rows], COLUMNS)
    else:
        print_rows("text", [{k: "" if v is None else v for k, v in row.items()} for row in rows], COLUMNS)
        print(f"\n32 producers: {gain} times a ledger that syncs each record; batches have {BATCH} records")
        print_one("text", about)


def ratio(figures: list[Figure]) -> float:
    """
    Return how many times faster 32 producers are than with a sync each, in this very run.
    """
    rates = {figure.case: figure.rate_per_s for figure in figures if figure.producers == 32}
    return round(rates["append"] / rates["append, a sync each"], 2)
