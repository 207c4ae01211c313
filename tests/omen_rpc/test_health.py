import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from omen_rpc.health import DESCRIPTOR, NOT_SERVING, SERVICE_UNKNOWN, SERVING, Health, HealthListResponse
from tests.hosting import Scripted, channel_to, hosted, refusal, unary

NAMES = ["", "liveness", "readiness", "omen.v1.SignalService", "omen.v1.ServerInfoService"]


def health_of(channel: grpc.aio.Channel) -> Any:
    """
    Return the library's own client.
    """
    return health_pb2_grpc.HealthStub(channel)


def asking(name: str) -> health_pb2.HealthCheckRequest:
    """
    Make the question for one name.
    """
    return health_pb2.HealthCheckRequest(service=name)


@pytest.mark.parametrize("name", NAMES)
async def test_check_answers_for_every_name(name: str) -> None:
    """
    A serving server says SERVING to the library's own client for each name.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        reply = await health_of(channel).Check(asking(name), timeout=5)
    assert reply.status == SERVING


async def test_check_of_an_unknown_name_is_not_found() -> None:
    """
    A name there is not is NOT_FOUND, with the name in the error.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        error = await refusal(health_of(channel).Check(asking("nobody"), timeout=5))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "HEALTH_NAME_UNKNOWN")
    assert (error.metadata, error.domain) == ({"service": "nobody"}, "grpc.health.v1")


async def test_list_answers_for_all() -> None:
    """
    List has every name and its state.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        raw = await unary(channel, "/grpc.health.v1.Health/List")(b"", timeout=5)
    statuses = HealthListResponse.FromString(raw).statuses
    assert {name: statuses[name].status for name in statuses} == dict.fromkeys(NAMES, SERVING)


async def test_watch_tells_every_change() -> None:
    """
    Watch says the state at once, NOT_SERVING as soon as draining begins, and ends before the port closes.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        stub = health_of(channel)
        watches = {name: stub.Watch(asking(name)) for name in (*NAMES, "nobody")}
        first = {name: await next_status(watch) for name, watch in watches.items()}
        server.stop()
        told = [name for name in NAMES if name != "liveness"]
        second = {name: await next_status(watches[name]) for name in told}
        codes = {await asyncio.wait_for(watch.code(), 5) for watch in watches.values()}
    assert first == dict.fromkeys(NAMES, SERVING) | {"nobody": SERVICE_UNKNOWN}
    assert second == dict.fromkeys(told, NOT_SERVING)
    assert codes == {grpc.StatusCode.OK}


async def next_status(watch: Any) -> Any:
    """
    Return the next state that *watch* tells.
    """
    return (await asyncio.wait_for(watch.read(), 5)).status


async def test_liveness_does_not_wait_for_readiness() -> None:
    """
    While a server recovers it lives, is not ready, and says so of every service.
    """
    health = Health(["a.v1.A"])
    assert not health.ready
    reply: Any = await health.List(None, None)
    states = reply.statuses
    assert {name: states[name].status for name in states} == {
        "liveness": SERVING,
        "": NOT_SERVING,
        "readiness": NOT_SERVING,
        "a.v1.A": NOT_SERVING,
    }
    health.set_ready(ready=True)
    assert health.ready


async def test_close_waits_for_watchers_only_so_long() -> None:
    """
    A watcher that does not take its last message in time is not waited for; when it comes to it, it is told still.
    """
    health = Health([])
    stuck, quick = health.Watch(asking(""), None), health.Watch(asking(""), None)
    await anext(stuck)
    await anext(quick)
    health.set_ready(ready=True)
    last: Any = await anext(quick)
    assert last.status == SERVING
    await asyncio.wait_for(health.close(0.05), 5)
    assert [reply async for reply in quick] == []
    assert [reply.status async for reply in stuck] == [SERVING]  # type: ignore[attr-defined]


def test_description_is_the_librarys_with_list() -> None:
    """
    What is described is what the library describes, and List as it was published.
    """
    assert [method.name for method in DESCRIPTOR.services_by_name["Health"].methods] == ["Check", "Watch", "List"]
    ours = DESCRIPTOR.message_types_by_name["HealthCheckResponse"]
    theirs = health_pb2.HealthCheckResponse.DESCRIPTOR
    assert [(field.name, field.number) for field in ours.fields] == [(f.name, f.number) for f in theirs.fields]
    statuses: Any = DESCRIPTOR.message_types_by_name["HealthListResponse"].fields_by_name["statuses"]
    assert (statuses.number, statuses.message_type.GetOptions().map_entry) == (1, True)
