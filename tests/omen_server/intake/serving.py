"""
OMEN's services as the server puts them together, in the test's own process, with a RiskCast that answers by script.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omen.v1.signal_pb2 import MarketFigures, OmenSignal, RawSignalEvent
from omen_client import OmenClient
from omen_rpc.server import Server
from omen_rpc.settings import Loaded
from omen_server.app import LEDGER, OPERATIONS, SIGNALS, Services, answering
from omen_server.intake.service import SignalService
from omen_server.ledger.durable import Disk
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.service import LedgerService
from omen_server.operations import Operations
from omen_server.refusals import REFUSALS
from omen_server.settings import OmenSettings
from tests.hosting import hosted, running
from tests.ledgers import opened
from tests.omen_server.far_side import INGEST, FakeIngest


def utc_now() -> datetime:
    """
    Return the time.
    """
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Served:
    """
    What a test has at hand.
    """

    omen: OmenClient
    riskcast: FakeIngest
    ledger: Ledger
    services: Services


@asynccontextmanager
async def served(
    place: Path,
    riskcast: FakeIngest | None = None,
    disk: Disk | None = None,
    *,
    connected: bool = True,
    **settings: Any,
) -> AsyncIterator[Served]:
    """
    Serve OMEN from *place* while the block runs.
    """
    fake = riskcast or FakeIngest()
    services = Services(SignalService(), LedgerService(), Operations())
    async with (
        hosted(fake, service=INGEST) as peer,
        opened(place / "ledger", utc_now, disk) as ledger,
    ):
        address = str(peer.address) if connected else ""
        chosen = {"data_dir": place, "riskcast": address, "listen": "127.0.0.1:0", "metrics_port": 0}
        loaded = Loaded(OmenSettings(**{**chosen, **settings}), {})
        hosting = {SIGNALS: services.signals, LEDGER: services.ledger, OPERATIONS: services.operations}
        server = Server("test-server", loaded, hosting, REFUSALS)
        await server.open()
        async with (
            answering(loaded.settings, services, ledger, server),
            running(server),
            OmenClient(str(server.address)) as omen,
        ):
            yield Served(omen, fake, ledger, services)


def raw_event(name: str = "m1", **fields: Any) -> RawSignalEvent:
    """
    Return a raw event that every rule lets through, observed now.
    """
    raw = RawSignalEvent(
        source="polymarket",
        source_event_id=name,
        title="Will Red Sea shipping be disrupted by attacks?",
        description="Attacks on ships in the Red Sea and at the Suez Canal.",
        probability=0.62,
        market=MarketFigures(
            liquidity_usd=400_500.0,
            volume_usd=2_000_000.0,
            outcomes=["Yes", "No"],
            outcome_prices=[0.62, 0.38],
            active=True,
            accepting_orders=True,
        ),
    )
    raw.observed_at.FromDatetime(utc_now())
    raw.MergeFrom(RawSignalEvent(**fields))
    return raw


def ready_signal(number: int, **fields: Any) -> OmenSignal:
    """
    Return the n-th ready signal.
    """
    return OmenSignal(**{"signal_id": f"OMEN-TEST{number:06d}", "title": f"Signal {number}", **fields})
