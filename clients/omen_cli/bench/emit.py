from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.bench.emitting import E2E_CASES, EMIT_CASES, measure_e2e, measure_emit
from omen_cli.bench.figures import Figure, machine
from omen_cli.bench.servers import check_place, omen, riskcast, serving
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows
from omen_cli.progress import Bar

COLUMNS = ("case", "producers", "batch", "payload", "rate_per_s", "p50_ms", "p90_ms", "p99_ms", "p999_ms")

Place = Annotated[Path, Parameter(help="On which disk: a directory of its own is made in it, and removed.")]
Seconds = Annotated[float, Parameter(help="How long all of it may take, about.")]
Payload = Annotated[Literal["json", "protobuf"], Parameter(help="How the ledger's records are written.")]


async def emit(
    *,
    dir: Place = Path(),  # noqa: A002 - the flag's name
    seconds: Seconds = 30.0,
    payload: Payload = "json",
    output: Output = "text",
) -> int:
    """
    Measure how many ready signals OMEN makes durable: single calls, coalesced callers, batches, known ones.

    It starts an OMEN of its own that pushes to nobody, and ends it. A rate counts signals; latencies are of one call.

    Example: omen bench emit --seconds 20 -o json
    """
    check_place(dir, seconds, "emit")
    figures: list[Figure] = []
    with TemporaryDirectory(prefix="omen-bench-", dir=dir) as place, Bar("bench emit") as bar:
        plan = omen(Path(place), "--riskcast=", f"--ledger-payload={payload}")
        async with serving(plan) as address:
            async for figure in measure_emit(address, seconds, payload):
                figures.append(figure)
                bar.move(len(figures), EMIT_CASES, "cases")
    print_figures(output, figures, machine(dir))
    return exits.OK


async def e2e(
    *,
    dir: Place = Path(),  # noqa: A002 - the flag's name
    seconds: Seconds = 30.0,
    payload: Payload = "json",
    store: Annotated[str, Parameter(help="RiskCast's store, a postgresql:// URL; SQLite without it.")] = "",
    output: Output = "text",
) -> int:
    """
    Measure the whole way: from the call to OMEN until RiskCast's ack is back, for ready signals and raw events.

    It starts both servers, and ends them. A rate counts signals that were acknowledged; latencies are of one call.

    Example: omen bench e2e --seconds 20 -o json
    """
    check_place(dir, seconds, "e2e")
    figures: list[Figure] = []
    with TemporaryDirectory(prefix="omen-bench-", dir=dir) as place, Bar("bench e2e") as bar:
        async with serving(riskcast(Path(place), store)) as peer:
            plan = omen(Path(place), f"--riskcast={peer}", f"--ledger-payload={payload}")
            async with serving(plan) as address:
                async for figure in measure_e2e(address, seconds, payload):
                    figures.append(figure)
                    bar.move(len(figures), E2E_CASES, "cases")
    print_figures(output, figures, {"store": store.partition(":")[0] or "sqlite", **machine(dir)})
    return exits.OK


def print_figures(output: Output, figures: list[Figure], about: dict[str, Any]) -> None:
    """
    Print the table and what it depends on.
    """
    rows = [figure.row() for figure in figures]
    if output == "json":
        print_one("json", {"figures": rows, **about})
    elif output == "jsonl":
        print_rows("jsonl", [row | about for row in rows], COLUMNS)
    else:
        print_rows("text", rows, COLUMNS)
        print()
        print_one("text", about)
