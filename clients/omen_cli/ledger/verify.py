from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.ledger.place import Directory, opened, writer
from omen_cli.ledger.place import find as find_ledger
from omen_cli.options import Output
from omen_cli.output import Form, Row, print_one, say
from omen_cli.progress import Bar
from omen_cli.running.verified import note_verified
from omen_server.ledger.audit import NOT_PROVEN, Fault, Progress, Verdict
from omen_server.ledger.errors import PartitionDamaged, PartitionNotFound
from omen_server.ledger.offline import OfflineLedger


def verify(
    directory: Directory,
    partition: Annotated[str, Parameter(help="Only this partition; all of them when not given.")] = "",
    *,
    begin: Annotated[str, Parameter(name="--from", help="Go on with this partition, after an interruption.")] = "",
    output: Output = "text",
) -> int:
    """
    Derive everything about a ledger again from its bytes: exit 0 when all fits, 1 with the exact place of every fault.

    Works offline and beside a running server, on a directory in any state, and changes nothing in it. What is in flight
    at the end of a ledger that somebody writes is no fault. That all of it was verified is noted in its data directory.

    Example: omen ledger verify .omen

    Parameters
    ----------
    directory
        The ledger's directory, or the data directory with the ledger in it.
    """
    rows: list[Row] = []
    with opened(directory) as ledger:
        names = chosen(ledger.names(), partition, begin)
        _say_live(ledger, directory)
        try:
            for name in names:
                verdict = drive(ledger.verify(name), name)
                rows.append(row_of(verdict))
                if output != "json":
                    print_verdict(output, verdict)
        except KeyboardInterrupt:
            name = names[min(len(rows), len(names) - 1)]
            remedy = f"omen ledger verify {directory} --from {name} goes on."
            text = f"interrupted in {name}; {len(rows)} of {len(names)} partitions are done"
            raise exits.Stopped(130, "INTERRUPTED", text, remedy) from None
    intact = all(row["intact"] for row in rows)
    if not partition and not begin:
        records = sum(int(row["record_count"]) for row in rows)
        note_verified(find_ledger(directory), intact=intact, partitions=len(rows), records=records)
    if output == "json":
        print_one("json", {"intact": intact, "partitions": rows, "not_proven": list(NOT_PROVEN)})
    elif output == "text":
        print_end(rows)
    return exits.OK if intact else exits.PROBLEM


def chosen(names: Sequence[str], partition: str, begin: str) -> list[str]:
    """
    Return which partitions are meant.
    """
    for wanted in (partition, begin):
        if wanted and wanted not in names:
            raise PartitionNotFound(wanted)
    return [partition] if partition else [name for name in names if name >= begin]


def drive(check: Iterator[Progress | Verdict], name: str) -> Verdict:
    """
    Run a verification to its end, showing how far it is.
    """
    with Bar(f"verifying {name}") as bar:
        try:
            for step in check:
                if isinstance(step, Verdict):
                    return step
                bar.move(step.bytes_done, step.bytes_total, "bytes")
        except PartitionDamaged as error:
            # Not even where to look can be read: that is the verdict.
            fault = Fault("metadata", error.partition, 0, 0, error.file, error.byte_offset, error.reason)
            return Verdict(name, 0, "", (fault,), 1)
    raise AssertionError("a verification without a verdict")


def row_of(verdict: Verdict) -> dict[str, Any]:
    """
    Return a verdict as JSON has it.
    """
    return {
        "partition": verdict.partition,
        "intact": verdict.intact,
        "record_count": verdict.record_count,
        "merkle_root": verdict.merkle_root,
        "fault_count": verdict.fault_count,
        "faults": [fault_row(asdict(fault)) for fault in verdict.faults],
    }


def fault_row(fields: dict[str, Any]) -> dict[str, Any]:
    """
    Return a fault under the names that the contract has for its places.
    """
    fields["ledger_sequence"], fields["ledger_index"] = fields.pop("sequence"), fields.pop("index")
    return fields


def print_verdict(form: Form, verdict: Verdict) -> None:
    """
    Print one partition's verdict as soon as it is there.
    """
    if form == "jsonl":
        print_one("jsonl", {**row_of(verdict), "not_proven": list(verdict.not_proven)})
        return
    state = "intact" if verdict.intact else f"{verdict.fault_count} FAULTS"
    print(f"{verdict.partition:<15}  {verdict.record_count:>12,} records  root {verdict.merkle_root[:16]}…  {state}")
    for fault in verdict.faults:
        place = f"{fault.partition}/{fault.file} at byte {fault.byte_offset}"
        print(f"  FAULT {fault.kind}: {place}, sequence {fault.sequence}, index {fault.index}: {fault.reason}")
    if verdict.fault_count > len(verdict.faults):
        print(f"  and {verdict.fault_count - len(verdict.faults)} more")


def print_end(rows: Sequence[Row]) -> None:
    """
    Print what all verdicts come to, and what they do not mean.
    """
    broken = [str(row["partition"]) for row in rows if not row["intact"]]
    records = sum(int(row["record_count"]) for row in rows)
    result = f"FAULTS in {', '.join(broken)}" if broken else "intact"
    print(f"{len(rows)} partitions, {records:,} records: {result}")
    print("What a pass does not prove:")
    for sentence in NOT_PROVEN:
        print(f"  · {sentence}")


def _say_live(ledger: OfflineLedger, directory: Path) -> None:
    if ledger.is_live():
        pid = writer(find_ledger(directory))
        say(f"Process {pid} writes this ledger; what it has not finished counts as in flight.")
