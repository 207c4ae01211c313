"""
Signals, and a RiskCast of the test's own to send them to.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.server import Server
from omen_rpc.settings import Loaded
from omen_rpc.signal_codec import content_digest
from riskcast_server.app import INGEST, INVENTORY, TRANSLATE
from riskcast_server.ingest import Ingest
from riskcast_server.inventory import Inventory
from riskcast_server.settings import RiskCastSettings
from riskcast_server.store import open_store

DAY = "2026-01-28"
DAY_S = 1_769_558_400


def signal(number: int = 1, *, title: str = "Red Sea transit disruption", index: int = 0) -> SignalEvent:
    """
    Return a whole signal, in the ledger at *index* when it is above 0.
    """
    name = f"OMEN-TEST{number:06d}"
    event = SignalEvent(
        schema_version="1.0.0",
        signal_id=name,
        deterministic_trace_id=f"{number:016x}",
        input_event_hash="sha256:" + "a" * 64,
        source_event_id=f"evt-{number}",
        ruleset_version="1.0.0",
        signal=signal_pb2.OmenSignal(
            signal_id=name,
            title=title,
            probability=0.72,
            confidence_score=0.85,
            confidence_level=signal_pb2.CONFIDENCE_LEVEL_HIGH,
            category=signal_pb2.SIGNAL_CATEGORY_GEOPOLITICAL,
        ),
    )
    event.emitted_at.seconds = DAY_S + number % 86_400
    if index:
        event.ledger_partition = DAY
        event.ledger_index = index
        event.ledger_sequence = (1 << 32) | index
        event.content_digest = content_digest(event)
    return event


@asynccontextmanager
async def riskcast(url: str | Path) -> AsyncIterator[Server]:
    """
    Serve RiskCast over the store at *url*; a path is a SQLite file.
    """
    store_url = url if isinstance(url, str) else f"sqlite:///{url}"
    settings = RiskCastSettings(listen="127.0.0.1:0", metrics_port=0, drain_timeout_s=5.0, store=store_url)
    async with open_store(store_url) as store:
        ingest = Ingest(store.signals)
        services = {INGEST: ingest, INVENTORY: Inventory(store, ingest.counts)}
        server = Server("riskcast-server", Loaded(settings, {}), services, TRANSLATE)
        await server.open()
        running = asyncio.create_task(server.run(engine=store.engine))
        try:
            yield server
        finally:
            server.stop()
            await running
            await server.close()
