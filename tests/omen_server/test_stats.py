from datetime import UTC, datetime

from prometheus_client import REGISTRY

from omen.v1 import signal_service_pb2 as pb
from omen_server.stats import Stats

NOW = datetime(2026, 1, 28, tzinfo=UTC)


def sample(name: str, **labels: str) -> float:
    """
    Return what a series says.
    """
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_counters_and_series_agree() -> None:
    """
    What is counted for GetStats is counted in the metrics.
    """
    outcomes = ("received", "processed", "cached", "filtered")
    before = {name: sample("omen_events_total", outcome=name) for name in outcomes}
    rule, errors = sample("omen_events_refused_total", rule="semantic"), sample("omen_ledger_append_errors_total")
    status = sample("omen_signals_total", outcome="ledger_only")
    stats = Stats(NOW)
    stats.received(5)
    stats.processed(4)
    stats.cached(1)
    stats.filtered("semantic")
    stats.filtered("semantic")
    stats.filtered("geographic")
    stats.not_appended(2)
    stats.settled(pb.EMIT_STATUS_LEDGER_ONLY, 3)
    counted = (stats.events_received, stats.events_processed, stats.events_cached, stats.events_filtered)
    assert counted == (5, 4, 1, 3)
    assert tuple(sample("omen_events_total", outcome=name) - before[name] for name in outcomes) == counted
    assert dict(stats.filtered_by_rule) == {"semantic": 2, "geographic": 1}
    assert sample("omen_events_refused_total", rule="semantic") - rule == 2
    assert (stats.append_failures, sample("omen_ledger_append_errors_total") - errors) == (2, 2)
    assert dict(stats.signals_by_status) == {"LEDGER_ONLY": 3}
    assert sample("omen_signals_total", outcome="ledger_only") - status == 3


def test_success_ratio() -> None:
    """
    Without appends all of them succeeded; then it is their share.
    """
    stats = Stats(NOW)
    assert stats.append_success_ratio == 1.0
    stats.appended(3)
    assert stats.append_success_ratio == 1.0
    stats.not_appended(1)
    assert stats.append_success_ratio == 0.75
