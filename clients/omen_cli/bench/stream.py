from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.bench.figures import machine
from omen_cli.bench.servers import check_place, omen, serving
from omen_cli.bench.streaming import Payload, StreamFigure, measure_cold, measure_live, prepare, records_for
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows
from omen_cli.progress import Bar

COLUMNS = ("case", "payload", "subscribers", "received", "received_per_s", "read_per_s", "emitted_per_s")
PAYLOADS: tuple[Payload, ...] = ("json", "protobuf")
CASES = 7


async def stream(
    *,
    dir: Annotated[Path, Parameter(help="On which disk: a directory of its own is made in it, and removed.")] = Path(),  # noqa: A002 - the flag's name
    seconds: Annotated[float, Parameter(help="How long all of it may take, about.")] = 30.0,
    output: Output = "text",
) -> int:
    """
    Measure StreamSignals: a cold reader from the beginning, with a filter, and live ones beside a producer.

    It writes a ledger, starts an OMEN of its own that pushes to nobody, and ends it. Received is what all subscribers
    have together, read what the server took from the ledger for that, emitted what the producer got in.

    Example: omen bench stream --seconds 20 -o json
    """
    check_place(dir, seconds, "stream")
    figures: list[StreamFigure] = []
    with TemporaryDirectory(prefix="omen-bench-", dir=dir) as place, Bar("bench stream") as bar:
        async for figure in measured(Path(place), seconds):
            figures.append(figure)
            bar.move(len(figures), CASES, "cases")
    rows = [figure.row() for figure in figures]
    about = {"ledger_records": records_for(seconds), **machine(dir)}
    if output == "json":
        print_one("json", {"figures": rows, **about})
    elif output == "jsonl":
        print_rows("jsonl", [row | about for row in rows], COLUMNS)
    else:
        print_rows(
            "text", [{name: "" if each is None else each for name, each in row.items()} for row in rows], COLUMNS
        )
        print()
        print_one("text", about)
    return exits.OK


async def measured(place: Path, seconds: float) -> AsyncIterator[StreamFigure]:
    """
    Yield the figures of all cases: two for each kind of payload, then the live ones.
    """
    records, share = records_for(seconds), seconds / CASES
    for payload in PAYLOADS:
        data = place / payload
        data.mkdir()
        await prepare(data, payload, records)
        async with serving(omen(data, "--riskcast=", f"--ledger-payload={payload}")) as address:
            async for figure in measure_cold(address, payload, records, 2 * share):
                yield figure
            if payload == PAYLOADS[-1]:
                async for figure in measure_live(address, payload, 3 * share):
                    yield figure
