import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import Form, print_one, print_rows, print_table
from omen_cli.status.standing import standing

SERVER_COLUMNS = ("server", "address", "status", "version", "started_at", "pid")
SUBSCRIBER_COLUMNS = ("peer", "principal", "position", "lag_records", "lag_s", "live")
RECOVERS = "Reconcile will recover what RiskCast lacks"
CLEAR = "\x1b[H\x1b[2J"


async def status(
    *,
    ledger: Annotated[
        Path | None, Parameter(help="Count what is in this ledger directory instead, without any server.")
    ] = None,
    watch: Annotated[float, Parameter(help="Look again every so many seconds; 0: once.")] = 0.0,
    data_dir: Annotated[
        Path, Parameter(env_var="OMEN_DATA_DIR", help="The data directory that omen up runs in, if it does here.")
    ] = Path(".omen"),
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Show how everything stands: servers, offsets, the store, subscribers, the breaker, reconciling, and the disk.

    Exit 0 when all is well, 1 when something is not, 4 when a server cannot be reached; what the others say is shown
    all the same. With --ledger it works on the files alone.

    Example: omen status --watch 2
    """
    if watch < 0:
        raise exits.Stopped(exits.USAGE, "USAGE", "--watch takes seconds, 0 or more.", "omen status --watch 2")
    if ledger is not None:
        return ledger_only(ledger, output)
    while True:
        whole = await standing(servers or Servers(), data_dir)
        if output != "text":
            print_one(output, whole)
        else:
            print(CLEAR, end="") if watch else None
            print_standing(whole)
        if not watch:
            return code_of(whole)
        await asyncio.sleep(watch)


def code_of(whole: Mapping[str, Any]) -> int:
    """
    Return the exit code of how everything stands.
    """
    if not all(row["reachable"] for row in whole["servers"]):
        return exits.UNREACHABLE
    return exits.PROBLEM if whole["problems"] else exits.OK


def print_standing(whole: Mapping[str, Any]) -> None:
    """
    Print how everything stands for people.
    """
    rows = [{**row, "status": status_of(row)} for row in whole["servers"]]
    print_rows("text", rows, SERVER_COLUMNS)
    found = lines(whole)
    if found:
        print()
        print_table([list(pair) for pair in found], ("what", "how it stands"))
    if whole.get("subscribers"):
        print()
        print_rows("text", [{**each, "lag_s": each.get("lag", 0)} for each in whole["subscribers"]], SUBSCRIBER_COLUMNS)
    for number, problem in enumerate(whole["problems"]):
        print(f"{'' if number else chr(10)}! {problem}")


def status_of(row: Mapping[str, Any]) -> str:
    """
    Return a server's status with what omen up does with it.
    """
    up = row.get("up", "serving")
    count = row.get("restarts", 0)
    times = f", restarted {count} time{'s' if count > 1 else ''}" if count else ""
    return f"{row['status']}{f' ({up})' if up != 'serving' else ''}{times}"


def lines(whole: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """
    Return what stands beside the servers, a line each.
    """
    found: list[tuple[str, str]] = []
    ledger, store = whole.get("ledger"), whole.get("store")
    if ledger:
        count = f"{some(ledger['ledger_records'], 'signal')} in {some(ledger['partitions'], 'partition')}"
        corrupt = f"{ledger['corrupt_records']:,} damaged" if ledger["corrupt_records"] else "none damaged"
        found.append(("ledger", f"{count}, {size(ledger['ledger_bytes'])}, {corrupt}"))
        found += [(name, f"{ledger[f'{name}_offset']:,}") for name in ("written", "durable", "settled")]
        found.append(("last full verify", verified(ledger["last_full_verify"])))
        found.append(("disk", f"{size(ledger['free_bytes'])} free"))
    if store:
        found.append(
            ("stored", f"{some(store['stored'], 'signal')} in RiskCast, {store['unpositioned']:,} from elsewhere")
        )
    elif ledger:
        found.append(("stored", f"Ledger-only: {some(ledger['ledger_records'], 'signal')}. {RECOVERS}."))
    if whole.get("reconciled"):
        found.append(("reconciled", f"{whole['reconciled']['records']:,} of {whole['reconciled']['of']:,} proven"))
    if whole.get("reconcile"):
        found.append(("last reconcile", reconcile_line(whole["reconcile"])))
    if whole.get("breaker"):
        found.append(("breaker", f"{whole['breaker']['state']}, {some(whole['queue_length'], 'signal')} waiting"))
    if ledger:
        found.append(("subscribers", f"{len(whole['subscribers']):,}"))
    return found


def reconcile_line(row: Mapping[str, Any]) -> str:
    """
    Return how reconciling stands.
    """
    last = row["last_run"]
    when = f"{last['status']} {last['partition_date']} at {last['started_at']}" if last else "never"
    left = f", {row['missing']:,} missing" if row["missing"] else ", nothing missing" if last else ""
    return f"{when}{left}{', PAUSED' if row['paused'] else ''}"


def verified(found: Mapping[str, Any] | None) -> str:
    """
    Return when everything was verified last.
    """
    return f"{found['at']}, {'intact' if found['intact'] else 'FAULTS'}" if found else "never, as far as is known here"


def some(count: int, noun: str) -> str:
    """
    Return so many of something.
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """
    Return bytes in the unit that people read.
    """
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def ledger_only(directory: Path, form: Form) -> int:
    """
    Count what a ledger's directory holds, for when nobody can be asked.
    """
    from omen_cli.ledger.place import opened  # noqa: PLC0415 - the engine is read only by whoever works on files

    with opened(directory) as ledger:
        infos = [ledger.partition(name) for name in ledger.names()]
        live = ledger.is_live()
    rows: list[dict[str, Any]] = [
        {
            "partition": each.partition,
            "state": str(each.state),
            "total_records": each.total_records,
            "corrupt_count": each.corrupt_count,
            "reconciled_through": each.reconciled_through,
        }
        for each in infos
    ]
    records, damaged = (sum(row[name] for row in rows) for name in ("total_records", "corrupt_count"))
    if form != "text":
        whole = {"mode": "Ledger-only", "records": records, "corrupt_records": damaged, "partitions": rows}
        print_one(form, whole | {"being_written": live, "next": f"{RECOVERS}."})
    else:
        print_rows("text", rows, list(rows[0]) if rows else ["partition"])
        print(f"\nLedger-only: {some(records, 'signal')} in {some(len(rows), 'partition')}. {RECOVERS}.")
    return exits.PROBLEM if damaged else exits.OK
