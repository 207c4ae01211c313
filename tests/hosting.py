"""
A server inside the test's own process, for tests that bring their own servicers or settings.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from omen.v1 import signal_service_pb2
from omen_rpc.refusal import Translate
from omen_rpc.server import Server
from omen_rpc.settings import Loaded, ServerSettings

SIGNALS = signal_service_pb2.DESCRIPTOR.services_by_name["SignalService"]


@asynccontextmanager
async def hosted(
    servicer: object,
    *,
    service: ServiceDescriptor = SIGNALS,
    translate: Translate | None = None,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[Server]:
    """
    Serve *servicer* on a free loopback port while the block runs; afterwards drain as on SIGTERM.
    """
    chosen = {"listen": "127.0.0.1:0", "metrics_port": 0, "drain_timeout_s": 5.0, **(settings or {})}
    server = Server("test-server", Loaded(ServerSettings(**chosen), {}), {service: servicer}, translate)
    await server.open()
    running = asyncio.create_task(server.run(engine="test"))
    try:
        yield server
    finally:
        server.stop()
        await running
        await server.close()
