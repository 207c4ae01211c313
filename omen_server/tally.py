"""
Counts what becomes of signals on the hot path, and logs when that changes; never a line for each signal.
"""

from collections.abc import Iterable

import structlog

from omen.v1 import signal_service_pb2 as pb
from omen_rpc import metrics
from omen_server.outcomes import Outcome

ACKNOWLEDGED = frozenset({pb.EMIT_STATUS_DELIVERED, pb.EMIT_STATUS_DUPLICATE})

log = structlog.get_logger()


class Tally:
    """
    Knows whether the hot path delivers, or leaves signals to the reconciler.
    """

    def __init__(self) -> None:
        self._delivering = True

    def count(self, outcomes: Iterable[Outcome], backlog: int) -> None:
        """
        Count *outcomes*. The hot path delivers again with the first ack behind which nothing waits.
        """
        for outcome in outcomes:
            metrics.PUSH_SIGNALS.labels(short_name(outcome)).inc()
            if outcome.status == pb.EMIT_STATUS_LEDGER_ONLY and self._delivering:
                self._delivering = False
                text = "signals stay in the ledger, the reconciler will reconcile them"
                log.warning("hot_path_ledger_only", text=text, why=outcome.detail)
            elif outcome.status in ACKNOWLEDGED and not self._delivering and not backlog:
                self._delivering = True
                log.info("hot_path_delivers")


def short_name(outcome: Outcome) -> str:
    """
    Return a status's name as metrics have it.
    """
    return pb.EmitStatus.Name(outcome.status).removeprefix("EMIT_STATUS_").lower()
