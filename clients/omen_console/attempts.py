"""
What the ingest demo sent lately, and what was answered. Kept in memory: the ledger and RiskCast keep the signals.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from omen.v1.signal_pb2 import SignalEvent

KEPT_MAX: Final = 100
# The codes people know, for the ones the servers send.
HTTP: Final = {
    "OK": 200,
    "ALREADY_EXISTS": 409,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One call: to whom, with which signal, and its answer. `status` is OMEN's word for what became of the signal.
    """

    at: datetime
    server: str
    signal_id: str
    status_code: str
    ack_id: str = ""
    status: str = ""
    duplicate: bool = False
    detail: str = ""

    @property
    def http(self) -> int:
        """
        Return the HTTP status of the same meaning.
        """
        return HTTP.get(self.status_code, 500)


class Attempts:
    """
    The newest attempts, counts of all of them, and the last signal sent, which duplicates are made of.
    """

    def __init__(self) -> None:
        self._kept: deque[Attempt] = deque(maxlen=KEPT_MAX)
        self.accepted = 0
        self.duplicates = 0
        self.failed = 0
        self.last_ack_id = ""
        self.last_event: SignalEvent | None = None

    def note(self, attempt: Attempt) -> None:
        """
        Keep an attempt.
        """
        self._kept.appendleft(attempt)
        self.accepted += attempt.http == 200
        self.duplicates += attempt.http == 409
        self.failed += attempt.http not in {200, 409}
        self.last_ack_id = attempt.ack_id or self.last_ack_id

    def newest(self) -> Sequence[Attempt]:
        """
        Return what is kept, newest first.
        """
        return tuple(self._kept)
