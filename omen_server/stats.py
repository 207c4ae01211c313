"""
What this process has counted since it started; the same numbers are in the metrics.
"""

from collections import Counter
from datetime import datetime

from omen.v1.signal_service_pb2 import EmitStatus
from omen_rpc import metrics

PREFIX = "EMIT_STATUS_"


class Stats:
    """
    The counters of GetStats.
    """

    def __init__(self, started_at: datetime) -> None:
        self.started_at = started_at
        self.events_received = 0
        self.events_processed = 0
        self.events_cached = 0
        self.filtered_by_rule: Counter[str] = Counter()
        self.signals_appended = 0
        self.append_failures = 0
        self.signals_by_status: Counter[str] = Counter()

    @property
    def events_filtered(self) -> int:
        """
        Raw events that the rules refused.
        """
        return self.filtered_by_rule.total()

    @property
    def append_success_ratio(self) -> float:
        """
        The share of appends that succeeded; 1 when there were none.
        """
        tried = self.signals_appended + self.append_failures
        return self.signals_appended / tried if tried else 1.0

    def received(self, events: int) -> None:
        """
        Count raw events that came in.
        """
        self.events_received += events
        metrics.EVENTS.labels("received").inc(events)

    def processed(self, events: int) -> None:
        """
        Count raw events that went through the whole pipeline, refused ones too.
        """
        self.events_processed += events
        metrics.EVENTS.labels("processed").inc(events)

    def cached(self, events: int) -> None:
        """
        Count raw events that were answered from what was there.
        """
        self.events_cached += events
        metrics.EVENTS.labels("cached").inc(events)

    def filtered(self, rule: str) -> None:
        """
        Count a raw event that the rules refused, by the first of them.
        """
        self.filtered_by_rule[rule] += 1
        metrics.EVENTS.labels("filtered").inc()
        metrics.EVENTS_REFUSED.labels(rule).inc()

    def appended(self, signals: int) -> None:
        """
        Count signals that are durable.
        """
        self.signals_appended += signals

    def not_appended(self, signals: int) -> None:
        """
        Count signals that the ledger could not append.
        """
        self.append_failures += signals
        metrics.LEDGER_APPEND_ERRORS.inc(signals)

    def settled(self, status: EmitStatus.ValueType, signals: int = 1) -> None:
        """
        Count what became of signals on the hot path.
        """
        name = EmitStatus.Name(status).removeprefix(PREFIX)
        self.signals_by_status[name] += signals
        metrics.SIGNALS.labels(name.lower()).inc(signals)
