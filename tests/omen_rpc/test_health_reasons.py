import asyncio
from contextlib import aclosing
from typing import Any

from omen_rpc.health import LIVENESS, NOT_SERVING, READINESS, SERVING, Health, HealthCheckRequest

WRITES, READS = "omen.v1.SignalService", "omen.v1.LedgerService"


async def statuses(health: Health) -> dict[str, Any]:
    """
    Return what health says of each name.
    """
    reply: Any = await health.List(None, None)
    return {name: each.status for name, each in reply.statuses.items()}


async def test_an_impaired_service_takes_readiness_with_it() -> None:
    """
    While something keeps one service from its work, that one and the server as a whole are not ready; the rest serves.
    """
    health = Health([WRITES, READS])
    health.set_ready(ready=True)
    health.impair("disk full", [WRITES])
    assert await statuses(health) == {
        "": NOT_SERVING,
        READINESS: NOT_SERVING,
        WRITES: NOT_SERVING,
        READS: SERVING,
        LIVENESS: SERVING,
    }
    assert not health.ready
    health.mend("disk full")
    assert set((await statuses(health)).values()) == {SERVING}
    assert health.ready


async def test_reasons_stand_by_themselves() -> None:
    """
    Mending one reason leaves the others, and mending what was never said changes nothing.
    """
    health = Health([WRITES, READS])
    health.set_ready(ready=True)
    health.impair("disk full", [WRITES])
    health.impair("index behind", [READS])
    health.mend("disk full")
    health.mend("no such reason")
    said = await statuses(health)
    assert (said[WRITES], said[READS], said[READINESS]) == (SERVING, NOT_SERVING, NOT_SERVING)


async def test_draining_wins_over_mending() -> None:
    """
    A reason that goes away while the server drains makes nothing ready again; one that came before serving is heeded.
    """
    health = Health([WRITES])
    health.impair("disk full", [WRITES])
    health.set_ready(ready=True)
    assert not health.ready
    health.set_ready(ready=False)
    health.mend("disk full")
    assert set((await statuses(health)).values()) == {SERVING, NOT_SERVING}
    assert not health.ready


async def test_watchers_are_told() -> None:
    """
    Whoever watches a service hears of it at once, both ways.
    """
    health = Health([WRITES])
    health.set_ready(ready=True)
    watch: Any = health.Watch(HealthCheckRequest(service=WRITES), None)
    async with aclosing(watch), asyncio.timeout(30):
        assert (await anext(watch)).status == SERVING
        health.impair("disk full", [WRITES])
        assert (await anext(watch)).status == NOT_SERVING
        health.mend("disk full")
        assert (await anext(watch)).status == SERVING
