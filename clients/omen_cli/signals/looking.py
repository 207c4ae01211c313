from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalCategory
from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import print_one, print_rows
from omen_cli.plain import plain, short_name
from omen_cli.signals.rows import SIGNAL_COLUMNS, event_line, event_row
from omen_rpc.errors import CallError, NotFound

LEDGER_ONLY = "LEDGER_ONLY"
SignalId = Annotated[str, Parameter(help="The signal's id, OMEN-….")]


async def signals(
    *,
    partition: Annotated[str, Parameter(help="Only of this partition.")] = "",
    category: Annotated[Sequence[str], Parameter(help="Only of these categories, such as WEATHER.")] = (),
    text: Annotated[str, Parameter(help="Only with all of these words in the title.")] = "",
    since: Annotated[datetime | None, Parameter(help="Only emitted at or after this time.")] = None,
    until: Annotated[datetime | None, Parameter(help="Only emitted at or before this time.")] = None,
    limit: Annotated[int, Parameter(help="The most to print.")] = 20,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    List signals that are in the ledger, newest first.

    Example: omen signals --category WEATHER --limit 5
    """
    request = pb.ListSignalsRequest(
        partition=partition, categories=[category_of(each) for each in category], text=text, page_size=min(limit, 500)
    )
    for field, time in ((request.emitted_from, since), (request.emitted_through, until)):
        if time is not None:
            field.FromDatetime(time if time.tzinfo is not None else time.replace(tzinfo=UTC))
    rows: list[dict[str, Any]] = []
    async with (servers or Servers()).omen_client() as omen:
        async for event in omen.signals(request):
            if len(rows) >= limit:
                break
            rows.append(event_line(event) if output == "text" else event_row(event))
    print_rows(output, rows, SIGNAL_COLUMNS)


async def signal(signal_id: SignalId, *, servers: Servers | None = None, output: Output = "text") -> int:
    """
    Show one signal: where it lies, what RiskCast said, and whether its ids follow from what it says.

    Example: omen signal OMEN-EXAMPLE0001
    """
    at = servers or Servers()
    async with at.omen_client() as omen:
        found = await omen.signal(signal_id)
        checked = await omen.verify_signal(signal_id)
    answer = plain(found)
    later = await brought_later(at, signal_id) if answer["status"] == LEDGER_ONLY else {}
    row = {
        "status": answer["status"],
        "ack_id": answer["ack_id"],
        **later,
        "verified": checked.matches,
        "minted": checked.minted,
        "differences": list(checked.differences),
    }
    if output == "text":
        flat = event_row(found.event)
        print_one("text", row | {key: value for key, value in flat.items() if key != "signal"})
        print_one("text", {key: value for key, value in event_line(found.event).items() if key != "validation"})
    else:
        print_one(output, row | {"event": event_row(found.event)})
    return exits.OK if checked.matches else exits.PROBLEM


async def brought_later(servers: Servers, signal_id: str) -> dict[str, Any]:
    """
    Return what RiskCast says of a signal that the hot path did not bring: OMEN is not told what the reconciler did.
    """
    try:
        async with servers.riskcast_client(attempts_max=1) as riskcast:
            found = plain(await riskcast.processed(signal_id))
    except NotFound:
        return {"at_riskcast": "not yet"}
    except CallError:
        return {"at_riskcast": "cannot be asked"}
    return {"at_riskcast": f"stored, by {found['origin']}", "riskcast_ack_id": found["ack_id"]}


async def explain_signal(signal_id: SignalId, *, servers: Servers | None = None, output: Output = "text") -> None:
    """
    Tell how a signal came to be: what each rule said, how the confidence and the category follow, and the ids.

    Example: omen explain-signal OMEN-F7C763A82436
    """
    async with (servers or Servers()).omen_client() as omen:
        row = plain(await omen.explain(signal_id))
    if output != "text":
        print_one(output, row)
        return
    print_one("text", {name: row[name] for name in ("signal_id", "ruleset_version", "context_digest")})
    if row["verdicts"]:
        print_rows("text", row["verdicts"], ("name", "status", "score", "reason"))
    else:
        print("No rules were asked: it came as a ready signal (omen emit).")
    if row.get("confidence", {}).get("factors"):
        print_rows("text", row["confidence"]["factors"], ("name", "weight", "value"))
        print_one("text", {name: row["confidence"][name] for name in ("base", "completeness", "source_trust", "score")})
    if row["categories"]:
        print_rows("text", row["categories"], ("category", "score", "matches"))
    for step in row["identity_steps"]:
        print(step)


def category_of(name: str) -> SignalCategory.ValueType:
    """
    Return a category by its short name.
    """
    try:
        return SignalCategory.Value(f"SIGNAL_CATEGORY_{name.upper()}")
    except ValueError:
        kind = SignalCategory.DESCRIPTOR
        names = ", ".join(str(short_name(kind, number)) for number in kind.values_by_number if number)
        raise exits.Stopped(exits.USAGE, "USAGE", f"{name!r} is no category.", f"There are {names}.") from None
