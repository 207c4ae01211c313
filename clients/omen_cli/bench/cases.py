"""
What a measurement repeats: so many callers, each one call after the other, for so long.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from omen_cli.bench.figures import Figure, percentiles_ms
from omen_rpc.channel import Connection
from omen_rpc.health import HealthCheckRequest, HealthCheckResponse


@dataclass(frozen=True, slots=True)
class Case:
    """
    What so many callers repeat, and how many signals each call brings.
    """

    name: str
    callers: int
    signals: int
    call: Callable[[], Awaitable[Any]]
    payload: str = "protobuf"


def health_check_of(connection: Connection) -> Callable[[], Awaitable[Any]]:
    """
    Return a call that carries nothing and does nothing.
    """
    method: Any = connection.calls.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return lambda: connection.call(method, HealthCheckRequest())


async def timed(case: Case, seconds: float) -> Figure:
    """
    Let the callers of *case* repeat its call for *seconds*, and return what came of it.
    """
    await case.call()
    took: list[float] = []
    began = perf_counter()
    ends = began + seconds

    async def caller() -> None:
        while (start := perf_counter()) < ends:
            await case.call()
            took.append(perf_counter() - start)

    await asyncio.gather(*(caller() for _ in range(case.callers)))
    elapsed = perf_counter() - began
    sent = len(took) * case.signals
    rate = sent / elapsed
    return Figure(case.name, case.callers, case.signals, case.payload, sent, elapsed, rate, **percentiles_ms(took))
