"""
Listens for RiskCast's word that it serves again, so that a breaker need not wait out its time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from random import random as any_share
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from omen_rpc.channel import Connection
from omen_rpc.errors import CallError
from omen_rpc.health import READINESS, SERVING

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 5.0
# A watch that ends sooner did not stand, and the next one waits longer: a server that flaps is not asked at each flap.
STOOD_S = 30.0
# Longer than a channel ever pauses between two attempts to connect.
REACHED_S = 10.0


async def watch(
    connection: Connection,
    came_back: Callable[[], None],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    monotonic: Callable[[], float] = time.monotonic,
    random: Callable[[], float] = any_share,
) -> None:
    """
    Call *came_back* whenever RiskCast's readiness turns to SERVING, for ever. Uses the channel for subscriptions.
    """
    stub: Any = HealthStub(connection.subscriptions)  # The library's types do not know what it makes.
    request = health_pb2.HealthCheckRequest(service=READINESS)
    pause_s = PAUSE_FIRST_S
    while True:
        began_s, was_serving = monotonic(), False
        try:
            async with aclosing(connection.stream(stub.Watch, request)) as replies:
                async for reply in replies:
                    serving = reply.status == SERVING
                    if serving and not was_serving:
                        await reached(connection)
                        came_back()
                    was_serving = serving
        except CallError:
            pass  # It is away, or has no health service: the breaker's own probes find out what this cannot.
        pause_s = PAUSE_FIRST_S if monotonic() - began_s >= STOOD_S else min(PAUSE_MAX_S, 2 * pause_s)
        # Between half and all of it, so that many do not come at once.
        await sleep(pause_s * (0.5 + random() / 2))


async def reached(connection: Connection) -> None:
    """
    Wait until calls get through as well: their channel may still pause between two attempts to connect, and the one
    probe that a breaker lets through must not fail for that.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(REACHED_S):
            await connection.calls.channel_ready()
