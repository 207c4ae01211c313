"""
What an operator sees of a running OMEN: counters, the hot path, what happened, who listens, what was refused.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from google.protobuf.message import Message

from omen_cli.options import Output, Servers
from omen_cli.output import print_one, print_rows
from omen_cli.plain import plain

ACTIVITY_COLUMNS = ("at", "kind", "signal_id", "partition", "text")
SUBSCRIBER_COLUMNS = ("peer", "principal", "position", "lag_records", "lag", "live", "fell_behind", "since")
REJECTED_COLUMNS = ("at", "source", "source_event_id", "rule", "reason", "title")
BREAKER_COLUMNS = ("name", "state", "consecutive_failures", "retry_after", "changed_at", "last_failure")
Limit = Annotated[int, Parameter(help="The most to print.")]
Found = TypeVar("Found", bound=Message)


async def stats(*, servers: Servers | None = None, output: Output = "text") -> None:
    """
    Show the counters since the start: what came in, what became of it, and how large the ledger is.

    Example: omen stats -o json
    """
    async with (servers or Servers()).omen_client() as omen:
        row = plain(await omen.operations.stats())
    if output == "text":
        row |= {name: counts(row[name]) for name in ("filtered_by_rule", "signals_by_status")}
    print_one(output, row)


async def hot_path(*, servers: Servers | None = None, output: Output = "text") -> None:
    """
    Show the way to RiskCast: the breakers, the queue, and how far the ledger is settled.

    Example: omen hot-path
    """
    async with (servers or Servers()).omen_client() as omen:
        row = plain(await omen.operations.hot_path())
    if output != "text":
        print_one(output, row)
        return
    breakers = [row.pop("riskcast", None), *row.pop("sources")]
    print_rows("text", [each for each in breakers if each], BREAKER_COLUMNS)
    print()
    print_one("text", row)


async def activity(*, limit: Limit = 20, servers: Servers | None = None, output: Output = "text") -> None:
    """
    List what happened lately, newest first.

    Example: omen activity --limit 5
    """
    async with (servers or Servers()).omen_client() as omen:
        rows = await first(limit, omen.operations.activity(limit))
    print_rows(output, rows, ACTIVITY_COLUMNS)


async def subscribers(*, limit: Limit = 100, servers: Servers | None = None, output: Output = "text") -> None:
    """
    List who streams signals, and how far behind each is.

    Example: omen subscribers
    """
    async with (servers or Servers()).omen_client() as omen:
        rows = await first(limit, omen.operations.subscribers(limit))
    print_rows(output, rows, SUBSCRIBER_COLUMNS)


async def rejected(
    *,
    rule: Annotated[str, Parameter(help="Only those that this rule refused, such as liquidity.")] = "",
    limit: Limit = 20,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    List raw events that the rules refused, newest first, with what each rule said.

    Example: omen rejected --limit 5
    """
    async with (servers or Servers()).omen_client() as omen:
        rows = await first(limit, omen.operations.rejected(rule, limit))
    print_rows(output, [row | shown(row) for row in rows] if output == "text" else rows, REJECTED_COLUMNS)


async def first(limit: int, found: AsyncIterator[Found]) -> list[dict[str, Any]]:
    """
    Return the first rows of a list, and ask for no more of it than that.
    """
    rows: list[dict[str, Any]] = []
    if limit < 1:
        return rows
    async for each in found:
        rows.append(plain(each))
        if len(rows) == limit:
            break
    return rows


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """
    Return what the columns show of a refused event beside its rule.
    """
    event = row.get("event", {})
    reasons = [each["reason"] for each in row["verdicts"] if each["name"] == row["rule"]]
    names = ("source", "source_event_id", "title")
    return {name: event.get(name, "") for name in names} | {"reason": "; ".join(reasons)}


def counts(found: dict[str, int]) -> str:
    """
    Return counters by name in a line.
    """
    return ", ".join(f"{name} {count}" for name, count in found.items()) or "none"
