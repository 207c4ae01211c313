from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.bench import appending, emitting, ingesting
from omen_cli.bench.budgets import FAIL, PROFILES, Budget
from omen_cli.bench.emit import Place
from omen_cli.bench.figures import machine
from omen_cli.bench.servers import check_place, omen, riskcast, serving
from omen_cli.bench.stream import measured
from omen_cli.options import Output
from omen_cli.output import Row, print_one, print_rows
from omen_cli.progress import Bar

COLUMNS = ("verdict", "what", "figure", "budget", "metric", "bench", "case", "callers")


async def profile(
    name: Annotated[Literal["laptop"], Parameter(help="Whose budgets.")] = "laptop",
    *,
    dir: Place = Path(),  # noqa: A002 - the flag's name
    seconds: Annotated[float, Parameter(help="How long all of it may take, about.")] = 60.0,
    output: Output = "text",
) -> int:
    """
    Measure everything, and hold it to the published budgets: PASS or FAIL for each, exit 1 when one is not kept.

    Example: omen bench --profile laptop
    """
    check_place(dir, seconds, "profile")
    budgets = PROFILES[name]
    benches = tuple(dict.fromkeys(each.bench for each in budgets))
    rows: list[Row] = []
    with (
        exits.interruptible(lambda: (f"{len(rows)} of {len(budgets)} budgets are looked at", "Run it again.")),
        TemporaryDirectory(prefix="omen-bench-", dir=dir) as place,
        Bar(f"profile {name}") as bar,
    ):
        for number, bench in enumerate(benches, 1):
            inside = Path(place) / bench
            inside.mkdir()
            found = [row async for row in figures(bench, inside, seconds / len(benches))]
            rows += [judged(each, found) for each in budgets if each.bench == bench]
            bar.move(number, len(benches), "benchmarks")
    about = {"profile": name, "failed": sum(row["verdict"] == FAIL for row in rows), **machine(dir)}
    if output == "json":
        print_one("json", {"budgets": rows, **about})
    else:
        print_rows(output, rows, COLUMNS)
    if output == "text":
        print()
        print_one("text", about)
    return exits.PROBLEM if about["failed"] else exits.OK


def judged(budget: Budget, rows: list[dict[str, Any]]) -> Row:
    """
    Return how a budget stands against what was measured.
    """
    figure = next(row[budget.metric] for row in rows if budget.fits(budget.bench, row))
    return {
        "verdict": budget.verdict(figure),
        "what": budget.what,
        "figure": figure,
        "budget": budget.limit,
        "metric": budget.metric,
        "bench": budget.bench,
        "case": budget.case,
        "callers": budget.callers,
    }


async def figures(bench: str, place: Path, seconds: float) -> AsyncIterator[dict[str, Any]]:
    """
    Yield the figures of one benchmark as its own verb has them.
    """
    match bench:
        case "ledger":
            async for figure in appending.measure(place, seconds):
                yield figure.row()
        case "ingest":
            async for figure in ingesting.measure(place, "", seconds):
                yield figure.row()
        case "emit":
            async with serving(omen(place, "--riskcast=")) as address:
                async for figure in emitting.measure_emit(address, seconds, "json"):
                    yield figure.row()
        case "e2e":
            async with serving(riskcast(place)) as peer, serving(omen(place, f"--riskcast={peer}")) as address:
                async for figure in emitting.measure_e2e(address, seconds, "json"):
                    yield figure.row()
        case _:
            async for streamed in measured(place, seconds):
                yield streamed.row()
