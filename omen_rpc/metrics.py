"""
Every series a server exposes, declared in one place so that the reference and the vocabulary can be held to it.
"""

from collections.abc import Iterator
from math import nan

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RECORDS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# Which server a series is of, by how its name begins; what is not here, every server has.
OWN = {
    "omen-server": ("ledger", "index", "stream", "dead", "events", "signals", "push", "end"),
    "riskcast-server": ("ingest",),
    "omen-reconciler": ("reconcile",),
    "omen-console": ("console",),
}
EVERY = "every"

RPC_CALLS = Counter(
    "omen_rpc_calls",
    "Calls answered, by service, method and status code. Unknown methods count as other.",
    ["service", "method", "code"],
)
RPC_CALL_SECONDS = Histogram(
    "omen_rpc_call_seconds",
    "Seconds from a call's headers to its status, streams left out.",
    ["service", "method"],
    buckets=SECONDS_BUCKETS,
)
RPC_CALLS_OPEN = Gauge("omen_rpc_calls_open", "Calls being answered now, by pool.", ["call_class"])
RPC_CALLS_REFUSED = Counter(
    "omen_rpc_calls_refused", "Calls that ended with an error of the catalogue, by reason.", ["reason"]
)
RPC_CALLS_RESET = Counter("omen_rpc_calls_reset", "Calls reset because their peer took nothing of the reply.")
SERVER_TASKS = Gauge("omen_server_tasks", "Tasks of the event loop; a number that only ever rises is a leak.")
RPC_BODIES_AWAITED = Gauge("omen_rpc_bodies_awaited", "Calls whose headers came and whose message has not.")
SERVER_READY = Gauge("omen_server_ready", "1 while the server serves, 0 while it starts, drains, or cannot write.")
LOG_MESSAGES = Counter(
    "omen_log_messages", "Lines logged, by level; those that a flood was spared are none.", ["level"]
)
TLS_CERTIFICATE_EXPIRY_SECONDS = Gauge(
    "omen_tls_certificate_expiry_seconds",
    "Seconds until a certificate in use runs out, less than 0 when it has; by what it is to this server.",
    ["kind"],
)
LEDGER_APPENDS = Counter("omen_ledger_appends", "Records appended and durable.")
LEDGER_WRITTEN_BYTES = Counter("omen_ledger_written_bytes", "Bytes of frames appended and durable.")
LEDGER_SYNC_SECONDS = Histogram(
    "omen_ledger_sync_seconds", "Seconds that a sync of the ledger took.", buckets=SECONDS_BUCKETS
)
LEDGER_BATCH_RECORDS = Histogram(
    "omen_ledger_batch_records", "Records that one sync made durable.", buckets=RECORDS_BUCKETS
)
LEDGER_OFFSET = Gauge(
    "omen_ledger_offset", "The ledger's highest offset that is written, durable, or settled by the hot path.", ["state"]
)
LEDGER_SIZE_BYTES = Gauge("omen_ledger_size_bytes", "Bytes of the ledger's files, as of the last minute.")
LEDGER_PARTITIONS = Gauge(
    "omen_ledger_partitions", "Partitions of the ledger, by whether they take records.", ["state"]
)
LEDGER_DISK_FREE_BYTES = Gauge("omen_ledger_disk_free_bytes", "Bytes that the ledger may still write.")
LEDGER_DISK_FREE_BYTES.set(nan)  # Nobody has looked: no alert shall take that for a full disk.
LEDGER_RECOVERED_BYTES = Counter(
    "omen_ledger_recovered_bytes", "Bytes of unsealed segments that a start has read and written anew."
)
LEDGER_QUARANTINED_BYTES = Counter(
    "omen_ledger_quarantined_bytes", "Bytes of torn records that a start has cut away and kept in quarantine."
)
LEDGER_CORRUPTIONS = Counter("omen_ledger_corruptions", "Damaged places come across, each counted once a process.")
LEDGER_SEALS = Counter("omen_ledger_seals", "Partitions sealed by this process.")

INDEX_LAG_RECORDS = Gauge("omen_index_lag_records", "Records of the ledger that the signal index has not yet.")
STREAM_SUBSCRIBERS = Gauge("omen_stream_subscribers", "Open streams of signals, by what they are sent from.", ["state"])
STREAM_LAG_RECORDS = Gauge("omen_stream_lag_records", "Records that the slowest subscriber is behind.")
STREAM_LAG_SECONDS = Gauge(
    "omen_stream_lag_seconds", "The age of the oldest record that the slowest subscriber has not been sent."
)
STREAM_FRAMES = Counter("omen_stream_frames", "Frames sent to subscribers.")
STREAM_SIGNALS = Counter("omen_stream_signals", "Signals sent to subscribers, each counted once for each of them.")
STREAM_FELL_BEHIND = Counter("omen_stream_fell_behind", "Times that a subscriber was slower than the appends.")
DEAD_LETTERS = Gauge("omen_dead_letters", "Dead letters that wait for somebody to decide.")
DEAD_LETTERS_REFUSED = Counter(
    "omen_dead_letters_refused", "Failures for which there was no room among the dead letters, by stage.", ["stage"]
)
EVENTS = Counter("omen_events", "Raw events, by what became of them; received counts all of them.", ["outcome"])
EVENTS_REFUSED = Counter("omen_events_refused", "Raw events that the rules refused, by the first rule.", ["rule"])
SIGNALS = Counter("omen_signals", "Signals of this process, by what became of them on the hot path.", ["outcome"])
LEDGER_APPEND_ERRORS = Counter("omen_ledger_append_errors", "Signals that the ledger could not append.")
PUSH_SIGNALS = Counter(
    "omen_push_signals", "Signals that the hot path is done with, by what became of them.", ["outcome"]
)
PUSH_OVERFLOW_SIGNALS = Counter(
    "omen_push_overflow_signals", "Signals left to the reconciler because too many newer ones waited behind them."
)
PUSH_BATCH_RECORDS = Histogram(
    "omen_push_batch_records", "Signals that one attempt to push carried.", buckets=RECORDS_BUCKETS
)
PUSH_SECONDS = Histogram("omen_push_seconds", "Seconds that an attempt to push took.", buckets=SECONDS_BUCKETS)
PUSH_ERRORS = Counter("omen_push_errors", "Attempts to push that failed as a whole, by status code.", ["code"])
PUSH_CALLS_OPEN = Gauge("omen_push_calls_open", "Calls to RiskCast in flight.")
PUSH_QUEUE_RECORDS = Gauge("omen_push_queue_records", "Durable signals that wait to be pushed.")
PUSH_BREAKER_STATE = Gauge(
    "omen_push_breaker_state", "1 for what the breaker towards RiskCast does, 0 for what it does not.", ["state"]
)
END_TO_END_SECONDS = Histogram(
    "omen_end_to_end_seconds",
    "Seconds from a signal's append to RiskCast's first ack for it on the hot path.",
    buckets=SECONDS_BUCKETS,
)

INGEST_SIGNALS = Counter(
    "omen_ingest_signals", "Signals that came to RiskCast, by origin and outcome.", ["origin", "outcome"]
)
CONSOLE_REQUESTS = Counter(
    "omen_console_requests", "Requests that the console answered, by route and HTTP status.", ["route", "code"]
)
CONSOLE_STREAMS_OPEN = Gauge("omen_console_streams_open", "Pages that are live now.")
RECONCILE_RUNS = Counter("omen_reconcile_runs", "Runs over one partition, by how they ended.", ["outcome"])
RECONCILE_MISSING_SIGNALS = Counter("omen_reconcile_missing_signals", "Signals that runs have found missing.")
RECONCILE_REPLAYED_SIGNALS = Counter("omen_reconcile_replayed_signals", "Signals that runs have brought to RiskCast.")
RECONCILE_FALSE_GAPS = Counter(
    "omen_reconcile_false_gaps", "Signals that were found missing and had come on another way when they were replayed."
)
RECONCILE_PARKED_SIGNALS = Gauge("omen_reconcile_parked_signals", "Signals that RiskCast keeps refusing.")
RECONCILE_LAST_SUCCESS_TIMESTAMP = Gauge(
    "omen_reconcile_last_success_timestamp", "When a tick last left nothing missing, in seconds since 1970."
)
RECONCILE_LAST_SUCCESS_AGE_SECONDS = Gauge(
    "omen_reconcile_last_success_age_seconds",
    "Seconds since a tick last left nothing missing, over restarts; before the first such tick, since the first start.",
)
RECONCILE_LAST_SUCCESS_AGE_SECONDS.set(nan)


class Shown(Collector):
    """
    What one server exposes: what it is about, and what every process has. The others' series would stand at 0 in it.
    """

    def __init__(self, server: str) -> None:
        self._server = server if server in OWN else ""

    def collect(self) -> Iterator[Metric]:
        """
        Yield the families.
        """
        for family in REGISTRY.collect():
            if not self._server or server_of(family.name) in {self._server, EVERY}:
                yield family


def server_of(name: str) -> str:
    """
    Return which server a series is of.
    """
    prefix, _, rest = name.partition("_")
    word = rest.partition("_")[0] if prefix == "omen" else ""
    return next((server for server, words in OWN.items() if word in words), EVERY)


def exposition(server: str = "") -> bytes:
    """
    Return the series of *server*, or all, in the text format of Prometheus.
    """
    return generate_latest(Shown(server))
