"""
Every series a server exposes, declared in one place so that the reference and the vocabulary can be held to it.
"""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

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
RPC_BODIES_AWAITED = Gauge("omen_rpc_bodies_awaited", "Calls whose headers came and whose message has not.")
SERVER_READY = Gauge("omen_server_ready", "1 while the server serves, 0 while it starts or drains.")


def exposition() -> bytes:
    """
    Return every series in the text format of Prometheus.
    """
    return generate_latest(REGISTRY)
