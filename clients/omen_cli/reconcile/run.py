from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import print_one, print_rows, say
from omen_cli.plain import plain
from omen_cli.progress import Bar
from reconcile.v1 import reconcile_service_pb2 as pb

ONCE_MORE = "Run it again: what was brought stays brought."
COLUMNS = (
    "partition_date",
    "status",
    "reason",
    "ledger_count",
    "processed_before",
    "missing_count",
    "replayed_count",
    "remaining_count",
    "verified_through",
)


async def run(
    partition: Annotated[str | None, Parameter(help="One partition; the last 7 days if not given.")] = None,
    *,
    since_days: Annotated[int | None, Parameter(help="The last days, today counted.")] = None,
    all_: Annotated[bool, Parameter(name="--all", negative="", help="Everything there is.")] = False,
    include_open: Annotated[bool, Parameter(negative="", help="Main partitions too that are not sealed.")] = False,
    full: Annotated[bool, Parameter(negative="", help="Every block computed from its rows.")] = False,
    force: Annotated[bool, Parameter(negative="", help="Also where nothing seems to have changed.")] = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Compare and replay nothing.")] = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Have the reconciler make a round now. Exit 1 when something is left PARTIAL or FAILED.

    Example: omen reconcile run --all --include-open
    """
    if sum((partition is not None, since_days is not None, all_)) > 1:
        raise exits.Stopped(
            exits.USAGE, "USAGE", "A partition, --since-days and --all exclude each other.", "Give one of them."
        )
    request = pb.RunReconcileRequest(
        include_open=include_open,
        mode=pb.RECONCILE_MODE_FULL if full else pb.RECONCILE_MODE_INCREMENTAL,
        force=force,
        validate_only=dry_run,
    )
    if partition is not None:
        request.partition = partition
    elif all_:
        request.all = True
    else:
        request.since_days = since_days or 7
    rows: list[dict[str, Any]] = []
    summary = pb.RunReconcileResponse.Summary()
    with exits.interruptible(lambda: (f"{len(rows)} partitions are done", ONCE_MORE)), Bar("reconciling") as bar:
        async with (servers or Servers()).reconcile_client() as reconciler:
            async for frame in reconciler.run(request):
                if isinstance(frame, pb.ReconcileResult):
                    rows.append(plain(frame))
                elif isinstance(frame, pb.RunReconcileResponse.Summary):
                    summary = frame
                else:
                    moved(bar, frame)
    print_rows(output, rows, COLUMNS)
    if output == "text":
        say(f"{summary.replayed_count} replayed, {summary.remaining_count} still missing")
    return exits.PROBLEM if summary.partial or summary.failed else exits.OK


def moved(bar: Bar, progress: pb.RunReconcileResponse.Progress) -> None:
    """
    Show how far a round is.
    """
    if progress.missing:
        bar.move(progress.replayed, progress.missing, f"signals of {progress.partition}")
    else:
        bar.move(progress.partition_number, progress.partition_total, "partitions")


async def status(
    partition: Annotated[str | None, Parameter(help="One partition; the newest ones if not given.")] = None,
    *,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Tell how partitions stand after their last run. Exit 1 when one of them is not COMPLETED.

    Example: omen reconcile status 2026-01-28
    """
    columns = ("partition_date", "status", "reason", "missing_count", "verified_through", "final", "parked_count")
    async with (servers or Servers()).reconcile_client() as reconciler:
        if partition is not None:
            found = await reconciler.state(partition)
            row = plain(found)
            print_one(output, row.get("state", {}) | {key: row[key] for key in ("needs_reconcile", "reason")})
            return exits.PROBLEM if found.needs_reconcile else exits.OK
        overview = await reconciler.overview()
    print_rows(output, [plain(each) for each in overview.states], columns)
    if output == "text":
        say("paused" if overview.paused else f"replays at most {overview.signals_per_second:g} signals a second")
    return exits.PROBLEM if any(each.status != pb.RECONCILE_STATUS_COMPLETED for each in overview.states) else exits.OK


async def history(
    partition: Annotated[str, Parameter(help="Only of this partition.")] = "",
    *,
    limit: Annotated[int, Parameter(help="The most to print.")] = 20,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    List past runs, the newest first.

    Example: omen reconcile history --limit 5
    """
    rows: list[dict[str, Any]] = []
    async with (servers or Servers()).reconcile_client() as reconciler:
        async for each in reconciler.runs(partition, page_size=min(limit, 500)):
            if len(rows) >= limit:
                break
            rows.append(plain(each))
    print_rows(output, rows, ("started_at", *COLUMNS, "duration"))
