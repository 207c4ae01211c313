from typing import Annotated, Any, Literal

from cyclopts import Parameter

from omen_cli.options import Output, Servers
from omen_cli.output import print_one, print_rows
from omen_cli.plain import plain
from omen_cli.signals.rows import event_row
from riskcast.v1.ingest_service_pb2 import IngestOrigin
from riskcast.v1.inventory_service_pb2 import ProcessedSignal

COLUMNS = ("processed_at", "signal_id", "ack_id", "origin", "ledger_partition", "ledger_index")
Origin = Literal["any", "hot_path", "reconcile", "direct"]


async def processed(
    signal_id: Annotated[str | None, Parameter(help="One signal; the list of them if not given.")] = None,
    *,
    partition: Annotated[str, Parameter(help="Only of this partition.")] = "",
    origin: Annotated[Origin, Parameter(help="Only those that came this way.")] = "any",
    limit: Annotated[int, Parameter(help="The most to print.")] = 20,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    Show what RiskCast has stored: one signal with its ack, or the list in the order of storing.

    Example: omen processed OMEN-EXAMPLE0001
    """
    name = "UNSPECIFIED" if origin == "any" else origin.upper()
    rows: list[dict[str, Any]] = []
    async with (servers or Servers()).riskcast_client() as riskcast:
        if signal_id is not None:
            row = row_of(await riskcast.processed(signal_id))
            print_one(output, {key: value for key, value in row.items() if key != "event"} if output == "text" else row)
            return
        found = riskcast.list_processed(
            partition=partition,
            origin=IngestOrigin.Value(f"INGEST_ORIGIN_{name}"),
            page_size=max(1, min(limit, 500)),
        )
        async for each in found:
            if len(rows) >= limit:
                break
            rows.append(row_of(each))
    print_rows(output, rows, COLUMNS)


def row_of(signal: ProcessedSignal) -> dict[str, Any]:
    """
    Return a stored signal, its event as the ledger's JSON has it.
    """
    return plain(signal) | {"event": event_row(signal.event)}
