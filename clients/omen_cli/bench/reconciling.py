"""
What a round costs: finding what RiskCast lacks of a day, bringing it, and proving that both are the same.

OMEN, RiskCast and the reconciler are processes of their own; nothing is emitted meanwhile.
"""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any
from urllib.request import urlopen

from omen_cli.bench.figures import rounded
from omen_cli.bench.servers import free_address, omen, reconciler, riskcast, serving
from omen_cli.bench.typical import typical_signal
from omen_client.reconcile import ReconcileClient
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.settings import LedgerSettings
from omen_server.records import SIGNALS, entry_of
from reconcile.v1 import reconcile_service_pb2 as pb

BATCH = 500
SEED = 7
SCATTERED = (1, 100, 10_000)
# An outage that took a tenth of the day, in one piece.
BURST_SHARE = 10
CASES = 3 + len(SCATTERED)
SQL_IDS = 500
CALLS = re.compile(r'^omen_rpc_calls_total\{.*service="(?!grpc\.)[^"]*".*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RoundFigure:
    """
    One round: how long until it was known what is missing, how long in all, and what it took.

    Bytes are those that both sides answered to be compared, over all looks; calls those that each of them answered.
    """

    case: str
    positions: int
    missing: int
    found_s: float
    seconds: float
    replayed_per_s: float | None
    bytes_compared: int
    omen_calls: int
    riskcast_calls: int

    def row(self) -> dict[str, Any]:
        """
        Return the figure as it is printed.
        """
        return {name: rounded(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Both:
    """
    The servers that are compared, by where their metrics are, RiskCast's file, and the day.
    """

    omen: str
    riskcast: str
    store: Path
    day: str

    def calls(self) -> tuple[int, int]:
        """
        Return how many calls OMEN and RiskCast have answered.
        """
        return answered(self.omen), answered(self.riskcast)

    def lose(self, signal_ids: Sequence[str]) -> None:
        """
        Delete signals at RiskCast behind its back, which is what losing them comes to.
        """
        with closing(sqlite3.connect(self.store, timeout=60)) as connection, connection:
            for at in range(0, len(signal_ids), SQL_IDS):
                some = signal_ids[at : at + SQL_IDS]
                connection.execute(f"DELETE FROM signals WHERE signal_id IN ({', '.join('?' * len(some))})", some)  # noqa: S608 - question marks


async def measure_reconcile(place: Path, positions: int) -> AsyncIterator[RoundFigure]:
    """
    Yield what rounds cost over a day of so many positions: all missing, none, some here and there, one burst.
    """
    day = await prepare(place, positions)
    async with AsyncExitStack() as stack:
        both = Both(free_address(), free_address(), place / "riskcast.db", day)
        near = await stack.enter_async_context(serving(omen(place, "--riskcast=", port_of(both.omen))))
        far = await stack.enter_async_context(serving(riskcast(place, "", port_of(both.riskcast))))
        limits = (f"--replays-max={positions}", "--replay-rate=1000000")
        own = await stack.enter_async_context(serving(reconciler(place, near, far, *limits)))
        client = await stack.enter_async_context(ReconcileClient(own))
        for case, lost in losses(positions):
            # All of them is how it begins: RiskCast has nothing yet.
            await asyncio.to_thread(both.lose, [name(index) for index in lost] if len(lost) < positions else [])
            yield await figure(case, positions, len(lost), client, both)


def port_of(web: str) -> str:
    """
    Return the flag that puts a server's metrics there.
    """
    return f"--metrics-port={web.rpartition(':')[2]}"


async def prepare(place: Path, positions: int) -> str:
    """
    Write a ledger of one day with the engine itself, and return that day.
    """
    event, now = typical_signal(), datetime.now(UTC)
    event.emitted_at.FromDatetime(now)
    async with open_ledger(
        place / "ledger", SIGNALS, LedgerSettings(ballast_bytes=4096, resume_free_bytes=0)
    ) as ledger:
        for start in range(1, positions + 1, BATCH):
            entries = []
            for index in range(start, min(start + BATCH, positions + 1)):
                event.signal_id = event.signal.signal_id = name(index)
                entries.append(entry_of(event, "json"))
            await ledger.append(entries)
    return now.date().isoformat()


def name(index: int) -> str:
    """
    Return the id of the signal at a position.
    """
    return f"OMEN-ROUND{index:010d}"


def losses(positions: int) -> list[tuple[str, Sequence[int]]]:
    """
    Return the cases, with the positions that each of them begins without; never more than there are.
    """
    chance = Random(SEED)  # noqa: S311 - the same positions every time
    burst = range(positions // 2 + 1, positions // 2 + 1 + positions // BURST_SHARE)
    everywhere = range(1, positions + 1)
    scattered = [("scattered", sorted(chance.sample(everywhere, count))) for count in SCATTERED if count < positions]
    return [("everything", everywhere), ("nothing", ()), *scattered, ("burst", burst)]


async def figure(case: str, positions: int, missing: int, client: ReconcileClient, both: Both) -> RoundFigure:
    """
    Make a round and return what it cost; RuntimeError unless it found and brought exactly what was missing.
    """
    before = await asyncio.to_thread(both.calls)
    began = perf_counter()
    found_s, result = 0.0, pb.ReconcileResult()
    async for frame in client.run(pb.RunReconcileRequest(partition=both.day, include_open=True)):
        if isinstance(frame, pb.ReconcileResult):
            result = frame
        elif isinstance(frame, pb.RunReconcileResponse.Progress) and frame.phase != pb.RECONCILE_PHASE_COMPARING:
            found_s = found_s or perf_counter() - began
    took_s = perf_counter() - began
    after = await asyncio.to_thread(both.calls)
    wanted = pb.RECONCILE_STATUS_COMPLETED if missing else pb.RECONCILE_STATUS_SKIPPED
    if (result.status, result.missing_count, result.replayed_count) != (wanted, missing, missing):
        ended = pb.ReconcileStatus.Name(result.status)
        raise RuntimeError(f"{case}: {missing} of {positions} are missing, and a round ended {ended} {result.reason}")
    return RoundFigure(
        case,
        positions,
        missing,
        found_s or took_s,
        took_s,
        missing / (took_s - found_s) if missing else None,
        result.bytes_compared,
        after[0] - before[0],
        after[1] - before[1],
    )


def answered(web: str) -> int:
    """
    Return how many calls a server has answered, health checks left out.
    """
    with urlopen(f"http://{web}/metrics", timeout=10) as reply:
        return sum(round(float(value)) for value in CALLS.findall(reply.read().decode()))
