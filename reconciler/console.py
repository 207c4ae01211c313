from typing import TextIO

from reconcile.v1 import reconcile_service_pb2 as pb

from .verdict import word


class Console:
    """
    Tells of a round in lines, for people and for scripts that look for them.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def tell(self, frame: pb.RunReconcileResponse) -> None:
        """
        Print what a frame says, if it is a partition's result.
        """
        if frame.HasField("result"):
            for line in lines(frame.result):
                print(line, file=self._out, flush=True)


def lines(result: pb.ReconcileResult) -> list[str]:
    """
    Return the lines for one partition.
    """
    name = result.partition_date
    said = [f"Reconciling partition: {name}"]
    if result.status == pb.RECONCILE_STATUS_SKIPPED:
        return [*said, f"SKIPPED {result.reason}"]
    if result.status == pb.RECONCILE_STATUS_FAILED:
        return [*said, f"✗ {name}: FAILED {result.reason}: {result.error}"]
    said += [
        f"Ledger has {result.ledger_count} signals for {name}",
        f"Processed {result.processed_before} signals for {name}",
        f"Found {result.missing_count} missing signals for {name}",
    ]
    if result.status == pb.RECONCILE_STATUS_COMPLETED:
        return [*said, f"✓ {name}: replayed {result.replayed_count} signals"]
    left = f"replayed {result.replayed_count} signals, {result.remaining_count} remain"
    return [*said, f"✗ {name}: {word(result.status).upper()} {result.reason}: {left}"]
