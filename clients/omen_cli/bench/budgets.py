"""
What the product promises to do on a laptop, in numbers: `omen bench --profile laptop` holds it to them, and the table
in docs/performance.md is written from here.

A budget is a third to a fifth of what two shared cores with a real disk did while other work went on beside it. It is
there to notice that something became several times slower, not to win comparisons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Metric = Literal["rate_per_s", "received_per_s", "p50_ms", "p99_ms"]
PASS, FAIL = "PASS", "FAIL"
UNITS = {
    "rate_per_s": "signals/s",
    "received_per_s": "signals/s received",
    "p50_ms": "ms, half of all calls",
    "p99_ms": "ms, 99 % of all calls",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """
    One promise: the figure of a case is at least, or for a latency at most, the limit.
    """

    what: str
    bench: str
    case: str
    callers: int
    metric: Metric
    limit: float

    @property
    def at_most(self) -> bool:
        """
        Whether less is better.
        """
        return self.metric.endswith("_ms")

    def fits(self, bench: str, row: Mapping[str, Any]) -> bool:
        """
        Whether *row* is the figure this is about. Of several payloads the first, JSON, is meant.
        """
        callers = row.get("producers", row.get("subscribers"))
        return (bench, row["case"], callers) == (self.bench, self.case, self.callers) and row.get(self.metric) != ""

    def verdict(self, figure: float) -> str:
        """
        Return PASS or FAIL.
        """
        kept = figure <= self.limit if self.at_most else figure >= self.limit
        return PASS if kept else FAIL


LAPTOP = (
    Budget("records appended, each synced before its answer", "ledger", "append", 32, "rate_per_s", 1500),
    Budget("a single append, durable", "ledger", "append", 1, "p99_ms", 50),
    Budget("records verified again from their bytes", "ledger", "verify", 1, "rate_per_s", 20_000),
    Budget("signals stored by RiskCast, 64 callers", "ingest", "coalesced", 64, "rate_per_s", 3000),
    Budget("duplicates answered by RiskCast", "ingest", "duplicates only", 4, "rate_per_s", 4000),
    Budget("signals made durable by OMEN, 64 callers", "emit", "coalesced", 64, "rate_per_s", 1500),
    Budget("one signal made durable by OMEN", "emit", "coalesced", 1, "p50_ms", 15),
    Budget("signals durable and acknowledged by RiskCast", "e2e", "signals, coalesced", 64, "rate_per_s", 600),
    Budget("one signal the whole way", "e2e", "signals, coalesced", 1, "p50_ms", 25),
    Budget("raw events through rules, ledger and RiskCast", "e2e", "raw events, batch", 4, "rate_per_s", 200),
    Budget("a cold subscriber catching up", "stream", "catch-up", 1, "received_per_s", 5000),
    Budget("20 live subscribers together", "stream", "live", 20, "received_per_s", 20_000),
)
PROFILES = {"laptop": LAPTOP}
