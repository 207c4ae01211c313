from collections.abc import Iterable

import structlog

from omen_rpc import metrics

from .audit import Fault
from .partition import Gap
from .segment import Record

PLACES_MAX = 10_000

log = structlog.get_logger()


class Alarm:
    """
    Says of every damaged place once that it is damaged, however often it is come across; keeps a bounded list of them.
    """

    def __init__(self) -> None:
        self._told: set[tuple[str, str, int, int]] = set()

    def heard(self, items: Iterable[Record | Gap]) -> None:
        """
        Tell of the gaps among what was read.
        """
        for item in items:
            if isinstance(item, Gap):
                self.gap(item)

    def gap(self, gap: Gap) -> None:
        """
        Tell of positions that cannot be read, unless that is how it should be.
        """
        if gap.deleted:
            return
        self._tell(gap.partition, gap.file, gap.byte_offset, index=gap.first_index, reason=gap.reason)

    def fault(self, fault: Fault) -> None:
        """
        Tell of what a verification found.
        """
        self._tell(fault.partition, fault.file, fault.byte_offset, index=fault.index, reason=fault.reason)

    def _tell(self, partition: str, file: str, byte_offset: int, *, index: int, reason: str) -> None:
        place = (partition, file, byte_offset, index)
        if place in self._told or len(self._told) >= PLACES_MAX:
            return
        self._told.add(place)
        metrics.LEDGER_CORRUPTIONS.inc()
        log.critical(
            "ledger_corrupt",
            partition=partition,
            file=file,
            byte_offset=byte_offset,
            ledger_index=index,
            reason=reason,
        )
