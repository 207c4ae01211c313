from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.bench.figures import machine
from omen_cli.bench.reconciling import CASES, RoundFigure, measure_reconcile
from omen_cli.bench.servers import check_place
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows
from omen_cli.progress import Bar

COLUMNS = (
    "case",
    "positions",
    "missing",
    "found_s",
    "seconds",
    "replayed_per_s",
    "bytes_compared",
    "omen_calls",
    "riskcast_calls",
)
POSITIONS_MIN, POSITIONS_MAX = 100, 10_000_000
DEFAULT = (10_000, 100_000)


async def reconcile(
    *,
    dir: Annotated[Path, Parameter(help="On which disk: a directory of its own is made in it, and removed.")] = Path(),  # noqa: A002 - the flag's name
    positions: Annotated[
        Sequence[int], Parameter(negative="", help="How many signals a day has; a day is made for each number given.")
    ] = DEFAULT,
    output: Output = "text",
) -> int:
    """
    Measure rounds: a day of which RiskCast lacks everything, nothing, 1, 100 or 10,000 signals, or one burst.

    It writes a ledger, starts OMEN, RiskCast and a reconciler of its own, and ends them. A million positions take some
    minutes, most of them to bring everything once.

    Example: omen bench reconcile --positions 10000 -o json
    """
    check_place(dir, 1.0, "reconcile")
    if not all(POSITIONS_MIN <= count <= POSITIONS_MAX for count in positions):
        text = f"--positions is to be {POSITIONS_MIN} to {POSITIONS_MAX}"
        raise exits.Stopped(exits.USAGE, "USAGE", text, "omen bench reconcile --help tells what it takes.")
    figures: list[RoundFigure] = []
    with Bar("bench reconcile") as bar:
        for count in positions:
            with TemporaryDirectory(prefix="omen-bench-", dir=dir) as place:
                async for figure in measure_reconcile(Path(place), count):
                    figures.append(figure)
                    bar.move(len(figures), CASES * len(positions), "cases")
    rows = [figure.row() for figure in figures]
    about = machine(dir)
    if output == "json":
        print_one("json", {"figures": rows, **about})
    elif output == "jsonl":
        print_rows("jsonl", [row | about for row in rows], COLUMNS)
    else:
        print_rows("text", [{key: "" if each is None else each for key, each in row.items()} for row in rows], COLUMNS)
        print()
        print_one("text", about)
    return exits.OK
