"""
What the soak ends with: whether anything acknowledged is missing anywhere, and whether anybody logged a bug.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from omen.v1.position_pb2 import LedgerGap
from omen_client import OmenClient, ReconcileClient, RiskCastClient
from reconcile.v1 import reconcile_service_pb2 as pb

ROUNDS_MAX = 10
SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Held:
    """
    The ids of both sides, and what the reconciler's own comparison says of them.
    """

    ledger: Mapping[str, int]
    riskcast: Mapping[str, int]
    rounds: int
    left: list[str]

    def problems(self, acknowledged: set[str]) -> list[str]:
        """
        Return what is wrong when *acknowledged* is what callers were told.
        """
        ledger, riskcast = set(self.ledger), set(self.riskcast)
        found = [f"reconciler: {text}" for text in self.left]
        found += told("acknowledged and not in the ledger", acknowledged - ledger)
        found += told("in the ledger and not at RiskCast", ledger - riskcast)
        found += told("at RiskCast and not in the ledger", riskcast - ledger)
        found += told("more than once in the ledger", {key for key, count in self.ledger.items() if count > 1})
        found += told("more than once at RiskCast", {key for key, count in self.riskcast.items() if count > 1})
        return found


def told(what: str, ids: set[str]) -> list[str]:
    """
    Return a sentence about signals, none when there are none.
    """
    return [f"{len(ids)} {what}, such as {', '.join(sorted(ids)[:SHOWN_MAX])}"] if ids else []


async def held(omen: OmenClient, riskcast: RiskCastClient, reconciler: ReconcileClient) -> Held:
    """
    Reconcile until a comparison of everything, from the rows, finds nothing missing; then read both sides.
    """
    left: list[str] = []
    rounds = 0
    while rounds < ROUNDS_MAX:
        rounds += 1
        await results(reconciler, pb.RunReconcileRequest(all=True, include_open=True, force=True))
        left = [
            f"{each.partition_date} is {pb.ReconcileStatus.Name(each.status)} {each.reason}, "
            f"{each.missing_count} missing of {each.ledger_count}"
            for each in await results(
                reconciler,
                pb.RunReconcileRequest(
                    all=True, include_open=True, force=True, mode=pb.RECONCILE_MODE_FULL, validate_only=True
                ),
            )
            if each.missing_count or each.extra_ids or each.ledger_count != each.processed_count
        ]
        if not left:
            break
    ledger = Counter([signal_id async for signal_id in of_ledger(omen)])
    stored = Counter([each.signal_id async for each in riskcast.list_processed(page_size=500)])
    return Held(ledger, stored, rounds, left)


async def results(reconciler: ReconcileClient, request: pb.RunReconcileRequest) -> list[pb.ReconcileResult]:
    """
    Make one round and return what was found, by partition.
    """
    return [each async for each in reconciler.run(request) if isinstance(each, pb.ReconcileResult)]


async def of_ledger(omen: OmenClient) -> AsyncIterator[str]:
    """
    Yield the id of every record of the ledger.
    """
    async for partition in omen.partitions(oldest_first=True):
        async with aclosing(omen.read_partition(partition.partition_date)) as items:
            async for item in items:
                yield f"gap {item.reason}" if isinstance(item, LedgerGap) else item.signal_id


def bugs(server: str, lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """
    Return the lines of a log that no outage explains: a stack, a crash, a critical alarm.
    """
    return [
        f"{server} logged {json.dumps(line)}"
        for line in lines
        if "raised_at" in line or line.get("level") == "critical" or "Traceback" in str(line.get("text", ""))
    ]
