import re
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from omen_rpc import metrics

SHAPE = re.compile(r"omen(_[a-z][a-z0-9]*)+")
UNITS = {"seconds", "bytes", "ratio", "timestamp", "records"}
# What may be counted, in the words of the contract; a new series says its thing in one of them, or adds its word here.
THINGS = {
    "acks", "append", "appends", "appended", "batch", "batches", "block", "blocks", "bodies", "body", "breaker",
    "call", "calls", "checkpoint", "checkpoints", "conflict", "conflicts", "connection", "connections", "console",
    "corrupt",
    "corruption", "corruptions", "cursor", "dead", "delivered", "disk", "duplicate", "duplicates", "durable",
    "emit", "error", "errors", "event", "events", "export", "frame", "frames", "free", "gap", "gaps", "index",
    "ingest", "ingested", "item", "items", "key", "keys", "lag", "ledger", "letter", "letters", "missing", "offset",
    "overflow", "parked", "partition", "partitions", "peer", "pending", "position", "positions", "push", "pushes",
    "queue",
    "raw", "receipt", "receipts", "record", "records", "reconcile", "reconciled", "refused", "rejected", "replayed",
    "request", "requests", "retries", "row", "rows", "rpc", "run", "runs", "seal", "sealed", "seals", "segment",
    "segments",
    "server", "settled", "signal", "signals", "source", "sources", "store", "stream", "streams", "subscriber",
    "subscribers", "sync", "syncs", "transaction", "transactions", "verify", "watermark", "write", "writes", "written",
}  # fmt: skip
STATES = {
    "open",
    "ready",
    "awaited",
    "age",
    "last",
    "success",
    "up",
    "size",
    "end",
    "to",
    "state",
    "recovered",
    "quarantined",
    "reset",
    "fell",
    "behind",
    "false",
    "message",
    "messages",
    "log",
    "tls",
    "certificate",
    "expiry",
    "tasks",
}
LABELS = {
    "origin",
    "service",
    "method",
    "code",
    "call_class",
    "reason",
    "outcome",
    "state",
    "source",
    "engine",
    "peer",
    "kind",
    "rule",
    "stage",
    "level",
    "route",
}


def series() -> Iterator[tuple[str, MetricWrapperBase]]:
    """
    Yield every series that the floor declares, by the name of its variable.
    """
    for name, value in vars(metrics).items():
        if isinstance(value, MetricWrapperBase):
            yield name, value


SERIES = [value for _, value in series()]


def test_there_are_series() -> None:
    """
    The list below is not empty, and holds what every alert stands on.
    """
    names = {each._name for each in SERIES}
    assert {"omen_rpc_calls", "omen_rpc_call_seconds", "omen_server_ready"} <= names


@pytest.mark.parametrize("each", SERIES, ids=lambda each: each._name)
def test_names_keep_to_the_vocabulary(each: MetricWrapperBase) -> None:
    """
    A series is snake case, begins with omen, and speaks in the words of the contract; a histogram ends in its unit.
    """
    words = each._name.split("_")[1:]
    assert SHAPE.fullmatch(each._name)
    assert set(words) <= THINGS | STATES | UNITS
    if isinstance(each, Histogram):
        assert words[-1] in UNITS
    elif isinstance(each, Counter):
        assert words[-1] in THINGS | UNITS | STATES
    else:
        assert isinstance(each, Gauge)


@pytest.mark.parametrize("each", SERIES, ids=lambda each: each._name)
def test_series_explain_themselves(each: MetricWrapperBase) -> None:
    """
    Every series has a sentence of help and labels whose values the contract bounds.
    """
    assert each._documentation[0].isupper() or each._documentation[0].isdigit()
    assert each._documentation.endswith(".")
    assert set(each._labelnames) <= LABELS


@pytest.mark.parametrize(("name", "each"), list(series()))
def test_variables_are_named_for_their_series(name: str, each: MetricWrapperBase) -> None:
    """
    The name in the code is the name on the dashboard.
    """
    assert f"omen_{name.lower()}" == each._name


def test_every_series_is_declared_here() -> None:
    """
    What a process exposes beside Python's own series is declared in metrics modules, so that the reference has it.
    """
    ours = {name for name in REGISTRY._names_to_collectors if name.startswith("omen_")}
    declared = {name for each in SERIES for name in REGISTRY._collector_to_names[each]}
    assert {name for name in ours - declared if name.startswith(("omen_rpc", "omen_server"))} == set()


def test_exposition_is_prometheus_text() -> None:
    """
    The text has help, type and value of every series, labels or not.
    """
    text = metrics.exposition().decode()
    for each in SERIES:
        assert f"# HELP {each._name}" in text
    assert re.search(r"(?m)^omen_server_ready [01]\.0$", text)
