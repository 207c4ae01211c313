import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from omen_rpc.health import DESCRIPTOR as HEALTH
from tests.hosting import Scripted, channel_to, hosted, refusal, streaming

VERSIONS = ["grpc.reflection.v1", "grpc.reflection.v1alpha"]
SERVED = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "omen.v1.ServerInfoService",
    "omen.v1.SignalService",
]


def open_in(channel: grpc.aio.Channel, version: str) -> Any:
    """
    Open a reflection stream of *version*.
    """
    return streaming(channel, f"/{version}.ServerReflection/ServerReflectionInfo")()


async def ask(call: Any, **question: Any) -> ServerReflectionResponse:
    """
    Ask one question on an open stream.
    """
    await call.write(ServerReflectionRequest(**question).SerializeToString())
    return ServerReflectionResponse.FromString(await asyncio.wait_for(call.read(), 5))


def first_file(reply: ServerReflectionResponse) -> bytes:
    """
    Return the file that has the symbol asked for, without what it imports.
    """
    return reply.file_descriptor_response.file_descriptor_proto[0]


@pytest.mark.parametrize("version", VERSIONS)
async def test_both_versions_list_and_describe(version: str) -> None:
    """
    Either version lists every service and describes each, itself and the details of errors included, so that a tool
    without protos can print them.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        call = open_in(channel, version)
        listed = await ask(call, list_services="")
        names = [service.name for service in listed.list_services_response.service]
        described = {}
        for name in [
            *names,
            "omen.v1.SignalService.GetSignal",
            "google.rpc.ErrorInfo",
            "google.rpc.RetryInfo",
            "omen.v1.ErrorReason",
        ]:
            reply = await ask(call, file_containing_symbol=name)
            described[name] = FileDescriptorProto.FromString(first_file(reply)).package
        unknown = await ask(call, file_containing_symbol="omen.v1.SignalService.Nothing")
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    assert sorted(names) == SERVED
    assert all(name.startswith(f"{package}.") for name, package in described.items())
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_health_is_described_with_list() -> None:
    """
    What is described of health is what is served: Check, Watch and List.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        reply = await ask(open_in(channel, VERSIONS[0]), file_containing_symbol="grpc.health.v1.Health")
    assert first_file(reply) == HEALTH.serialized_pb


async def test_reflection_may_be_off() -> None:
    """
    A server that describes nothing does not have the methods at all.
    """
    async with (
        hosted(Scripted(), settings={"reflection": False}) as server,
        channel_to(str(server.address)) as channel,
    ):
        for version in VERSIONS:
            assert (await refusal(open_in(channel, version).read())).reason == "METHOD_UNKNOWN"


async def test_silent_tool_is_let_go() -> None:
    """
    A reflection stream on which nothing is asked ends, so that it does not hold its place for ever.
    """
    async with (
        hosted(Scripted(), settings={"body_timeout_s": 0.1}) as server,
        channel_to(str(server.address)) as channel,
    ):
        call = open_in(channel, VERSIONS[0])
        assert (await ask(call, list_services="")).list_services_response.service
        assert (await refusal(asyncio.wait_for(call.read(), 5))).reason == "REQUEST_BODY_TIMEOUT"
