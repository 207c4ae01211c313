"""
The ten demonstration signals, each said once. Every scenario and every proof takes them from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import signal_pb2 as pb
from omen.v1.signal_service_pb2 import EmitSignalItem
from omen_server.ledger.entry import Entry
from omen_server.records import entry_of

DAY, LATE = "2026-01-28", "2026-01-28-late"
SEALED_AT = datetime(2026, 1, 29, 4, tzinfo=UTC)
LATE_AT = datetime(2026, 1, 29, 6, 30, tzinfo=UTC)
RULESET = "1.0.0"
# Title, probability, confidence score, category.
What: TypeAlias = tuple[str, float, float, pb.SignalCategory.ValueType]
LATE_ID = "OMEN-DEMO008LATE"
# What RiskCast has not processed when reconciling begins, and which signals come a second time.
MISSING = ("OMEN-DEMO005", "OMEN-DEMO009")
REPEATED = ("OMEN-DEMO001ABCD", "OMEN-DEMO002WXYZ")


@dataclass(slots=True)
class Clock:
    """
    The time, as far as a ledger knows.
    """

    now: datetime = datetime(2026, 1, 28, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        """
        Return the time.
        """
        return self.now


@dataclass(frozen=True, slots=True)
class Given:
    """
    One of the ten.
    """

    number: int
    signal_id: str
    trace_id: str
    input_event_hash: str
    observed_at: datetime
    emitted_at: datetime
    title: str
    probability: float
    confidence_score: float
    category: pb.SignalCategory.ValueType

    @property
    def source_event_id(self) -> str:
        """
        The raw event's id at its source.
        """
        return f"evt-{self.number:03d}"

    @property
    def signal(self) -> pb.OmenSignal:
        """
        The signal itself.
        """
        level = pb.CONFIDENCE_LEVEL_HIGH if self.confidence_score >= 0.75 else pb.CONFIDENCE_LEVEL_MEDIUM
        return pb.OmenSignal(
            signal_id=self.signal_id,
            source_event_id=self.source_event_id,
            title=self.title,
            probability=self.probability,
            confidence_score=self.confidence_score,
            confidence_level=level,
            category=self.category,
            trace_id=self.trace_id,
            ruleset_version=RULESET,
            generated_at=_at(self.emitted_at),
        )


def the_ten() -> Sequence[Given]:
    """
    Return the ten in the order of their numbers.
    """
    # Names: id, trace, hash. Times of the day: observed, emitted; 8 is observed the day before.
    return (
        _given(1, ("OMEN-DEMO001ABCD", "a1b2c3d4e5f6g7h8", "abc123"), ("10:00:00", "10:00:05"), _RED_SEA),
        _given(2, ("OMEN-DEMO002WXYZ", "b2c3d4e5f6g7h8i9", "def456"), ("11:00:00", "11:00:02"), _SUEZ),
        _given(3, ("OMEN-DEMO003", "d4e5f6g7h8i9j0k1", "demo003"), ("12:10:00", "12:10:03"), _STRIKE),
        _given(4, ("OMEN-DEMO004", "e5f6g7h8i9j0k1l2", "demo004"), ("13:20:00", "13:20:04"), _TYPHOON),
        _given(5, ("OMEN-DEMO005", "f6g7h8i9j0k1l2m3", "demo005"), ("14:30:00", "14:30:02"), _SANCTIONS),
        _given(6, ("OMEN-DEMO006", "g7h8i9j0k1l2m3n4", "demo006"), ("15:40:00", "15:40:06"), _PIRACY),
        _given(7, ("OMEN-DEMO007", "h8i9j0k1l2m3n4o5", "demo007"), ("16:50:00", "16:50:03"), _FREIGHT),
        _given(8, (LATE_ID, "c3d4e5f6g7h8i9j0", "late001"), ("", "23:59:58"), _CLOSURE),
        _given(9, ("OMEN-DEMO009", "i9j0k1l2m3n4o5p6", "demo009"), ("18:00:00", "18:00:05"), _CONGESTION),
        _given(10, ("OMEN-DEMO010TENTH", "j0k1l2m3n4o5p6q7", "demo010"), ("19:10:00", "19:10:02"), _BORDER),
    )


_RED_SEA = ("Red Sea transit disruption", 0.72, 0.85, pb.SIGNAL_CATEGORY_GEOPOLITICAL)
_SUEZ = ("Suez canal delay probability", 0.55, 0.7, pb.SIGNAL_CATEGORY_INFRASTRUCTURE)
_STRIKE = ("Rotterdam dock strike vote", 0.35, 0.55, pb.SIGNAL_CATEGORY_LABOR)
_TYPHOON = ("Typhoon near the Luzon Strait", 0.66, 0.77, pb.SIGNAL_CATEGORY_WEATHER)
_SANCTIONS = ("New sanctions on tankers", 0.44, 0.6, pb.SIGNAL_CATEGORY_REGULATORY)
_PIRACY = ("Boarding attempts off Somalia", 0.58, 0.74, pb.SIGNAL_CATEGORY_SECURITY)
_FREIGHT = ("Freight rates to Northern Europe rise", 0.61, 0.8, pb.SIGNAL_CATEGORY_ECONOMIC)
_CLOSURE = ("Late report: port closure", 0.6, 0.65, pb.SIGNAL_CATEGORY_GEOPOLITICAL)
_CONGESTION = ("Port congestion at Singapore", 0.52, 0.68, pb.SIGNAL_CATEGORY_INFRASTRUCTURE)
_BORDER = ("Border crossing closed to lorries", 0.4, 0.75, pb.SIGNAL_CATEGORY_GEOPOLITICAL)


def event(given: Given) -> pb.SignalEvent:
    """
    Return one of the ten in its envelope, without what the ledger alone says.
    """
    return pb.SignalEvent(
        schema_version="1.0.0",
        signal_id=given.signal_id,
        deterministic_trace_id=given.trace_id,
        input_event_hash=given.input_event_hash,
        source_event_id=given.source_event_id,
        ruleset_version=RULESET,
        observed_at=_at(given.observed_at),
        emitted_at=_at(given.emitted_at),
        signal=given.signal,
    )


def entry(given: Given) -> Entry:
    """
    Return one of the ten as the ledger takes it.
    """
    return entry_of(event(given), "json")


def item(given: Given) -> EmitSignalItem:
    """
    Return one of the ten as OMEN takes it from a caller.
    """
    return EmitSignalItem(
        signal=given.signal,
        observed_at=_at(given.observed_at),
        input_event_hash=given.input_event_hash,
        emitted_at=_at(given.emitted_at),
    )


def _given(number: int, names: tuple[str, str, str], times: tuple[str, str], what: What) -> Given:
    signal_id, trace_id, hashed = names
    observed = f"{DAY}T{times[0]}+00:00" if times[0] else "2026-01-27T23:50:00+00:00"
    emitted = f"{DAY}T{times[1]}+00:00"
    moments = datetime.fromisoformat(observed), datetime.fromisoformat(emitted)
    return Given(number, signal_id, trace_id, f"sha256:{hashed}", moments[0], moments[1], *what)


def _at(moment: datetime) -> Timestamp:
    at = Timestamp()
    at.FromDatetime(moment)
    return at
