from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import print_one, print_rows
from omen_cli.plain import plain

COLUMNS = ("dead_letter_id", "at", "stage", "subject", "reason", "attempts", "message")
Every = Annotated[bool, Parameter(name="--all", negative="", help="All there are, instead of naming them.")]


async def list_(
    *,
    limit: Annotated[int, Parameter(help="The most to print.")] = 100,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    List what could not be finished, oldest first: raw events that the pipeline failed on, signals RiskCast refuses.

    Example: omen dead-letters list
    """
    rows: list[dict[str, Any]] = []
    async with (servers or Servers()).omen_client() as omen:
        async for letter in omen.operations.dead_letters():
            if len(rows) >= limit:
                break
            rows.append(plain(letter) | {"subject": letter.signal_id or letter.event.source_event_id})
    print_rows(output, rows, COLUMNS)


async def requeue(
    *ids: Annotated[str, Parameter(help="The dead letters' ids.")],
    every: Every = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Try dead letters again; those that go through are forgotten, the others stay. Exit 1 when some stay.

    Example: omen dead-letters requeue --all
    """
    async with (servers or Servers()).omen_client() as omen:
        row = plain(await omen.operations.requeue(chosen(ids, every=every), every=every))
    print_one(output, row)
    return exits.PROBLEM if row["failed"] else exits.OK


async def purge(
    *ids: Annotated[str, Parameter(help="The dead letters' ids.")],
    every: Every = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    Forget dead letters. The ledger keeps every signal among them; raw events are gone.

    Example: omen dead-letters purge DL-0000000000000001
    """
    async with (servers or Servers()).omen_client() as omen:
        print_one(output, {"purged": await omen.operations.purge(chosen(ids, every=every), every=every)})


def chosen(ids: Sequence[str], *, every: bool) -> Sequence[str]:
    """
    Return the ids that were named, unless that is no clear choice.
    """
    if bool(ids) == every:
        raise exits.Stopped(exits.USAGE, "USAGE", "Name dead letters, or say --all.", "omen dead-letters list")
    return ids
