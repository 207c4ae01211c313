from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.ledger.place import Directory, find, refusals
from omen_cli.ledger.repair import Apply
from omen_cli.options import Output
from omen_cli.output import Row, print_rows, say
from omen_cli.progress import Bar
from omen_server.ledger.durable import Disk
from omen_server.ledger.lifecycle import run
from omen_server.ledger.lock import WriterLock
from omen_server.ledger.partition import partition_names
from omen_server.ledger.settings import LedgerSettings

DEFAULTS = LedgerSettings()
COLUMNS = ("partition", "action", "bytes_before", "bytes_after", "detail")


def lifecycle(
    directory: Directory,
    *,
    apply: Apply = False,
    hot_days: Annotated[float, Parameter(help="Compressed when sealed for so long.")] = DEFAULTS.hot_days,
    warm_days: Annotated[float, Parameter(help="Archived when sealed for so long.")] = DEFAULTS.warm_days,
    retention_days: Annotated[
        float, Parameter(help="Deleted when sealed for so long, and only when reconciled.")
    ] = DEFAULTS.retention_days,
    output: Output = "text",
) -> int:
    """
    Say which sealed partitions are old enough to be compressed, archived or deleted, or do it with --apply.

    Running it again goes on where an interruption left it. With --apply it is refused while a process writes the
    ledger: a running server does this by itself.

    Example: omen ledger lifecycle .omen --dry-run

    Example: omen ledger lifecycle .omen --apply --hot-days 2
    """
    settings = LedgerSettings(hot_days=hot_days, warm_days=warm_days, retention_days=retention_days)
    with refusals():
        root, disk = str(find(directory)), Disk()
        if apply:
            lock = WriterLock(disk, root)
            try:
                rows = run_all(disk, root, settings, apply=True)
            except KeyboardInterrupt:
                remedy = "What was done stays done; the same command goes on."
                raise exits.Stopped(130, "INTERRUPTED", "interrupted", remedy) from None
            finally:
                lock.release()
        else:
            rows = run_all(disk, root, settings, apply=False)
    if rows or output != "text":
        print_rows(output, rows, COLUMNS)
    if not rows:
        say("No partition is old enough for anything.")
    elif not apply:
        say(f"Nothing was changed. omen ledger lifecycle {directory} --apply does this.")
    return exits.OK


def run_all(disk: Disk, root: str, settings: LedgerSettings, *, apply: bool) -> list[Row]:
    """
    Run the lifecycle over all partitions and return what it did, or would do.
    """
    rows: list[Row] = []
    names = partition_names(disk, root)
    with Bar("lifecycle") as bar:
        for step in run(disk, root, settings, datetime.now(UTC), dry_run=not apply):
            rows.append(asdict(step) | {"applied": apply and step.action != "KEEP"})
            bar.move(names.index(step.partition) + 1, len(names), "partitions")
    return rows
