"""
Waiting for a server that has just been started, until it is ready.
"""

import asyncio
from contextlib import suppress
from typing import Any

import grpc

from omen_rpc.health import READINESS, SERVING, HealthCheckRequest, HealthCheckResponse

# grpc's own pause before it connects again is a second at first, and a server is up sooner than that.
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
)
ASKED_EVERY_S = 0.05


async def serves(address: str) -> None:
    """
    Return when the server at *address* says that it is ready.
    """
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        watch: Any = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        while True:
            with suppress(grpc.aio.AioRpcError):  # It died while we asked; whoever waits for us looks after that.
                async for reply in watch(HealthCheckRequest(service=READINESS), wait_for_ready=True):
                    if reply.status == SERVING:
                        return
            await asyncio.sleep(ASKED_EVERY_S)


async def answers(address: str) -> None:
    """
    Return when somebody at *address* answers HTTP, whatever the answer is.
    """
    host, _, port = address.rpartition(":")
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"HEAD /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            if await reader.readline():
                writer.close()
                return
            writer.close()
        await asyncio.sleep(ASKED_EVERY_S)
