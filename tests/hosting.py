"""
A server inside the test's own process, for tests that bring their own servicers or settings.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor

from omen.v1 import signal_service_pb2
from omen.v1.signal_service_pb2_grpc import SignalServiceServicer, SignalServiceStub
from omen_rpc.errors import CallError
from omen_rpc.refusal import Translate
from omen_rpc.server import Server
from omen_rpc.settings import Loaded, ServerSettings
from omen_rpc.status import from_rpc_error

if TYPE_CHECKING:
    from omen.v1.signal_service_pb2_grpc import SignalServiceAsyncStub  # A type that exists in the stubs only.

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
    async with running(server):
        yield server


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    """
    Let an open server answer while the block runs; afterwards drain as on SIGTERM.
    """
    task = asyncio.create_task(server.run(engine="test"))
    try:
        yield
    finally:
        server.stop()
        await task
        await server.close()


class Scripted(SignalServiceServicer):
    """
    Answers GetSignal, EmitSignals and StreamSignals as the test says, and nothing else.
    """

    def __init__(
        self,
        get: Callable[[Any, Any], Awaitable[Any]] | None = None,
        emit: Callable[[Any, Any], Awaitable[Any]] | None = None,
        stream: Callable[[Any, Any], AsyncIterator[Any]] | None = None,
    ) -> None:
        self._get = get
        self._emit = emit
        self._stream = stream

    async def GetSignal(self, request: Any, context: Any) -> Any:
        """
        Answer by the test's function, else emptily.
        """
        return await self._get(request, context) if self._get else signal_service_pb2.GetSignalResponse()

    async def EmitSignals(self, request: Any, context: Any) -> Any:
        """
        Answer by the test's function, else emptily.
        """
        return await self._emit(request, context) if self._emit else signal_service_pb2.EmitSignalsResponse()

    async def StreamSignals(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """
        Answer by the test's function, else with one empty frame.
        """
        if self._stream is None:
            yield signal_service_pb2.StreamSignalsResponse()
            return
        async for reply in self._stream(request, context):
            yield reply


@asynccontextmanager
async def stub_of(server: Server) -> AsyncIterator["SignalServiceAsyncStub"]:
    """
    Connect to *server* while the block runs. The channel retries nothing: a test sees the first answer.
    """
    async with channel_to(str(server.address)) as channel:
        yield SignalServiceStub(channel)


@asynccontextmanager
async def channel_to(
    address: str, credentials: grpc.ChannelCredentials | None = None, *options: tuple[str, Any]
) -> AsyncIterator[grpc.aio.Channel]:
    """
    Open a channel of its own connection, that retries nothing.
    """
    chosen = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1), *options)
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=chosen)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=chosen)
    async with channel:
        yield channel


async def refusal(call: Awaitable[Any]) -> CallError:
    """
    Return the error that *call* must end with.
    """
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def drained_of(call: Any) -> list[Any]:
    """
    Return everything a stream sends until it ends.
    """
    return [reply async for reply in call]


def unary(channel: grpc.aio.Channel, path: str) -> Any:
    """
    Return what calls *path* with the bytes it is given, whatever they are.
    """
    return channel.unary_unary(path)


def streaming(channel: grpc.aio.Channel, path: str) -> Any:
    """
    Return what opens a call of *path* and leaves sending messages, or none, to the test.
    """
    return channel.stream_stream(path)


async def until(condition: Callable[[], bool]) -> None:
    """
    Wait until *condition* holds, for things that change in this process and tell nobody.
    """
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - gauges have no events
            await asyncio.sleep(0)
