from dataclasses import asdict
from typing import Any

from omen_cli.ledger.place import Directory, Partition, opened
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows, print_table
from omen_server.ledger.catalogue import PartitionInfo

COLUMNS = ("partition", "state", "total_records", "distinct_signal_ids", "corrupt_count", "size_bytes", "sealed_at")


def partitions(directory: Directory, *, output: Output = "text") -> None:
    """
    List a ledger's partitions, archived and deleted ones too, without a server; open ones are counted by reading them.

    Example: omen ledger partitions .omen
    """
    with opened(directory) as ledger:
        rows = [row_of(ledger.partition(name)) for name in ledger.names()]
    print_rows(output, rows, COLUMNS)


def show(directory: Directory, partition: Partition, *, output: Output = "text") -> None:
    """
    Show one partition: its state, its files, its gaps and its manifest, without a server.

    Example: omen ledger show .omen 2026-01-28
    """
    with opened(directory) as ledger:
        info = ledger.partition(partition)
    row = row_of(info)
    if output != "text":
        print_one(output, row | {"manifest_json": info.manifest_json})
        return
    print_one("text", {name: value for name, value in row.items() if name not in {"segments", "gaps"}})
    for name in ("segments", "gaps"):
        if row[name]:
            print()
            print_table([[str(cell) for cell in each.values()] for each in row[name]], list(row[name][0]))


def row_of(info: PartitionInfo) -> dict[str, Any]:
    """
    Return a partition as JSON has it; its manifest is shown one at a time.
    """
    row = asdict(info)
    del row["manifest_json"]
    return row
