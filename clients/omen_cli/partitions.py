from typing import Annotated, Any, Literal

from cyclopts import Parameter

from omen_cli.options import Output, Servers
from omen_cli.output import print_one, print_rows
from omen_cli.plain import plain

COLUMNS = (
    "partition",
    "state",
    "total_records",
    "distinct_signal_ids",
    "corrupt_count",
    "size_bytes",
    "reconciled_through",
    "sealed_at",
)
LISTS = ("segments", "gaps", "manifest_json")

Name = Annotated[str, Parameter(help="The partition's name: a UTC date, with -late for late arrivals.")]


async def partitions(
    which: Annotated[Literal["all", "open", "sealed", "late"], Parameter(help="Which ones.")] = "all",
    *,
    limit: Annotated[int, Parameter(help="The most to print.")] = 100,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    List the partitions of a running OMEN, newest first. (ledger partitions does so offline.)

    Example: omen partitions sealed --limit 7
    """
    rows: list[dict[str, Any]] = []
    async with (servers or Servers()).omen_client() as omen:
        async for each in omen.partitions(which, page_size=max(1, min(limit, 500))):
            if len(rows) >= limit:
                break
            rows.append(plain(each))
    print_rows(output, rows, COLUMNS)


async def partition(name: Name, *, servers: Servers | None = None, output: Output = "text") -> None:
    """
    Show one partition of a running OMEN: how far it is durable, settled and reconciled, its files and its gaps.

    Example: omen partition 2026-01-28
    """
    async with (servers or Servers()).omen_client() as omen:
        found = plain(await omen.partition(name))
        mark = plain(await omen.watermark(name))
    row = found["partition"] | {key: mark[key] for key in ("durable_highwater", "settled_index", "ledger_epoch")}
    if output != "text":
        print_one(output, row | {key: found[key] for key in ("gaps", "gap_count", "manifest_json")})
        return
    print_one("text", {key: value for key, value in row.items() if key not in LISTS} | {"gaps": found["gap_count"]})
    for key, each in (("segments", row["segments"]), ("gaps", found["gaps"])):
        if each:
            print(f"\n{key}")
            print_rows("text", each, tuple(each[0]))


async def seal(
    name: Name,
    *,
    force: Annotated[bool, Parameter(negative="", help="Although the day is not over.")] = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    Close a partition for good: its manifest and its Merkle root are written. Sealing again changes nothing.

    Example: omen seal 2026-01-28
    """
    async with (servers or Servers()).omen_client() as omen:
        done = plain(await omen.seal(name, force=force))
    shown = ("partition", "state", "total_records", "merkle_root", "manifest_revision", "sealed_at")
    row = {key: done["partition"][key] for key in shown if key in done["partition"]}
    print_one(output, row | {"already_sealed": done["already_sealed"]})
