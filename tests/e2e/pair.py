"""
OMEN and RiskCast as two processes, on sockets in the test's own directory: either can die and come back where it was.
"""

import asyncio
import urllib.request
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from omen.v1.position_pb2 import LedgerGap
from omen.v1.signal_pb2 import (
    SIGNAL_CATEGORY_SECURITY,
    SIGNAL_CATEGORY_WEATHER,
    OmenSignal,
    RawSignalEvent,
    SignalEvent,
)
from omen.v1.signal_service_pb2 import EmitSignalItem
from omen_client import OmenClient, RiskCastClient
from tests.omen_server.pipeline.raw_events import alert, article, market, price, quake, transits, vessels
from tests.processes import ServerProcess, running

# Nobody listens there, and nobody will.
NOBODY = "--riskcast=unix:/nowhere/riskcast.sock"
# There is no hot path at all: no breaker is open, so that a replay need not wait for one.
PUSHES_NOTHING = "--riskcast="
# Retries that end soon, and a breaker that opens soon and stays open: tests say when somebody is back.
SOON = ("--push-attempts-max=2", "--push-pause-first-s=0.01", "--breaker-failures-max=1", "--breaker-open-s=600")
NEVER = datetime(2999, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def omen(
    data: Path, *flags: str, timeout_s: float = 20.0, program: str = "omen-server"
) -> AsyncIterator[tuple[ServerProcess, OmenClient]]:
    """
    Run OMEN on *data*, pushing to the RiskCast that may run in the same place, with a client of it.
    """
    place = (f"--data-dir={data}", f"--listen=unix:{data}/omen.sock", to_riskcast(data))
    async with (
        running(program, *place, *flags, cwd=data) as server,
        OmenClient(server.address, timeout_s=timeout_s) as client,
    ):
        yield server, client


@asynccontextmanager
async def riskcast(place: Path, *flags: str) -> AsyncIterator[tuple[ServerProcess, RiskCastClient]]:
    """
    Run RiskCast in *place*, where OMEN of the same place looks for it, with a client of it.
    """
    store = f"--store=sqlite:///{place}/riskcast.db"
    async with (
        running("riskcast-server", store, f"--listen=unix:{place}/riskcast.sock", *flags, cwd=place) as server,
        RiskCastClient(server.address) as client,
    ):
        yield server, client


def to_riskcast(place: Path) -> str:
    """
    Return the flag that sends OMEN to the RiskCast of a place.
    """
    return f"--riskcast=unix:{place}/riskcast.sock"


def raw(number: int) -> RawSignalEvent:
    """
    Return the n-th raw event, of a market, observed just now: the rules let it through.
    """
    return market(
        f"Red Sea transit disruption, market {number}",
        figures={"end_at": NEVER},
        source_event_id=f"market-{number}",
        observed_at=datetime.now(UTC),
    )


def varied(count: int) -> list[RawSignalEvent]:
    """
    Return raw events of all kinds, observed just now, most of which the rules let through.
    """
    kinds = (market, alert, quake, article, price, transits, vessels)
    events = []
    for number in range(count):
        event = kinds[number % len(kinds)]()
        event.source_event_id = f"varied-{number}"
        event.title = f"{event.title} (report {number})"
        event.observed_at.FromDatetime(datetime.now(UTC))
        if event.HasField("market"):
            event.market.end_at.FromDatetime(NEVER)
        if "expires" in event.attributes:
            event.attributes["expires"] = "2999-01-01T00:00:00Z"
        events.append(event)
    return events


def ready(number: int, description: str = "") -> EmitSignalItem:
    """
    Return the n-th ready signal; every third is about weather, the others about security.
    """
    category = SIGNAL_CATEGORY_SECURITY if number % 3 else SIGNAL_CATEGORY_WEATHER
    signal = OmenSignal(
        signal_id=f"OMEN-READY{number:07d}", title=f"Signal {number}", category=category, description=description
    )
    return EmitSignalItem(signal=signal)


async def emitted(client: OmenClient, numbers: Sequence[int], description: str = "", **more: int) -> list[SignalEvent]:
    """
    Emit signals in batches of at most 500 and return their events; every one of them must be durable.
    """
    events: list[SignalEvent] = []
    for at in range(0, len(numbers), 500):
        items = [ready(number, description) for number in numbers[at : at + 500]]
        for outcome in await client.emit_all(items, **more):  # type: ignore[arg-type]  # A delivery is a number.
            assert not isinstance(outcome, Exception), outcome
            events.append(outcome.event)
    return events


async def ledger_of(client: OmenClient) -> list[SignalEvent]:
    """
    Return every record of the ledger, in its order.
    """
    events: list[SignalEvent] = []
    async for partition in client.partitions(oldest_first=True):
        async with aclosing(client.read_partition(partition.partition_date, validate=True)) as items:
            async for item in items:
                assert not isinstance(item, LedgerGap)
                events.append(item)
    return sorted(events, key=lambda event: event.ledger_offset)


async def all_of(items: AsyncIterable[SignalEvent]) -> list[SignalEvent]:
    """
    Return all that a list yields.
    """
    return [item async for item in items]


async def figures(server: ServerProcess) -> dict[str, float]:
    """
    Return all series of a server's metrics.
    """
    text = await asyncio.to_thread(scraped, server.web)
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def scraped(address: str) -> str:
    """
    Return what /metrics says.
    """
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as reply:
        return str(reply.read().decode())


async def ingest_calls(server: ServerProcess) -> float:
    """
    Return how many ingest calls a RiskCast has answered.
    """
    return sum(
        value
        for name, value in (await figures(server)).items()
        if name.startswith("omen_rpc_calls_total{") and 'service="riskcast.v1.IngestService"' in name
    )
