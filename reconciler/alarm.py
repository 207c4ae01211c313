import structlog

from reconcile.v1 import reconcile_service_pb2 as pb

log = structlog.get_logger()


class Alarm:
    """
    Logs what should not be, by its exact place, CRITICAL. Nothing is ever deleted for it.

    What was found the last time as well is not said again, as long as the process lives: rounds are made every half
    minute, and who reads the log wants to know what is new.
    """

    def __init__(self) -> None:
        # At most as many for each partition as a result names.
        self._said: dict[str, frozenset[bytes]] = {}

    def tell(self, result: pb.ReconcileResult) -> None:
        """
        Log those findings of a run that the partition's last one did not have.
        """
        found = {each.SerializeToString(deterministic=True): each for each in result.integrity.findings}
        said = self._said.pop(result.partition_date, frozenset())
        for key, each in found.items():
            if key not in said:
                log.critical(
                    "reconcile_finding",
                    kind=pb.FindingKind.Name(each.kind).removeprefix("FINDING_KIND_"),
                    partition=each.partition,
                    ledger_index=each.ledger_index,
                    stored_signal_id=each.stored_signal_id,
                    ledger_signal_id=each.ledger_signal_id,
                )
        if found:
            self._said[result.partition_date] = frozenset(found)
