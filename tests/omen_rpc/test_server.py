import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from omen.v1 import server_info_service_pb2
from omen.v1.server_info_service_pb2_grpc import ServerInfoServiceStub
from omen.v1.signal_service_pb2 import GetSignalRequest, GetSignalResponse, StreamSignalsRequest, StreamSignalsResponse
from omen_rpc.address import AddressRefused
from omen_rpc.metrics import SERVER_READY
from omen_rpc.server import Server, calls_max, key_ring, limits, options
from omen_rpc.settings import Loaded, ServerSettings, SettingsRefused
from tests.hosting import SIGNALS, Scripted, channel_to, hosted, refusal, stub_of, unary
from tests.omen_rpc.conftest import Logged

GET = "/omen.v1.SignalService/GetSignal"
CHECK = "/grpc.health.v1.Health/Check"


def told(**settings: Any) -> ServerSettings:
    """
    Return settings of which only these are not as by default.
    """
    return ServerSettings(**settings)


def server_of(**settings: Any) -> Server:
    """
    Make a server that has not opened.
    """
    chosen = {"listen": "127.0.0.1:0", "metrics_port": 0, **settings}
    return Server("test-server", Loaded(told(**chosen), {}), {SIGNALS: Scripted()})


async def test_closed_doors_until_it_serves(logged: Logged) -> None:
    """
    From binding to serving a server lives, is not ready, and answers every call with STARTING and when to come back.
    """
    server = server_of()
    try:
        await server.open()
        async with channel_to(str(server.address)) as channel:
            error = await refusal(unary(channel, GET)(b"", timeout=5))
            assert await unary(channel, CHECK)(b"", timeout=5) == b"\x08\x02"
            assert await unary(channel, CHECK)(b"\x0a\x08liveness", timeout=5) == b"\x08\x01"
            assert logged.lines("serving") == []
            running = asyncio.create_task(server.run(engine="paper"))
            async with asyncio.timeout(30):
                while await unary(channel, CHECK)(b"", timeout=5) != b"\x08\x01":
                    pass
            assert await unary(channel, GET)(b"", timeout=5) == b""
        assert SERVER_READY._value.get() == 1
        server.stop()
        await running
    finally:
        await server.close()
        await server.close()
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STARTING")
    assert (error.retry_after_s, error.trailers["grpc-retry-pushback-ms"]) == (1.0, "1000")
    (line,) = logged.lines("serving")
    assert (line["address"], line["engine"], line["metrics"]) == (str(server.address), "paper", str(server.web_address))
    assert SERVER_READY._value.get() == 0


async def test_calls_inside_finish_and_streams_end(logged: Logged) -> None:
    """
    Draining lets a call that is inside finish, and ends streams with DRAINING so that they resume elsewhere; also one
    whose method swallows its cancellation.
    """
    entered, release = asyncio.Event(), asyncio.Event()

    async def get(_request: Any, _context: Any) -> Any:
        entered.set()
        await release.wait()
        return GetSignalResponse()

    async def stream(request: Any, _context: Any) -> AsyncIterator[Any]:
        yield StreamSignalsResponse(cursor="1")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not request.from_beginning:
                raise

    async with hosted(Scripted(get, stream=stream)) as server, stub_of(server) as stub:
        call: Any = stub.GetSignal(GetSignalRequest(), timeout=20)
        streams: list[Any] = [stub.StreamSignals(StreamSignalsRequest(from_beginning=each)) for each in (False, True)]
        for each in streams:
            await each.read()
        await entered.wait()
        server.stop()
        for each in streams:
            error = await refusal(asyncio.wait_for(each.read(), 5))
            assert (error.code, error.reason, error.retry_after_s) == (grpc.StatusCode.UNAVAILABLE, "DRAINING", 1.0)
        assert server.draining.is_set()
        release.set()
        assert await call == GetSignalResponse()
    assert logged.lines("drained")[0]["streams_ended"] == 2
    assert logged.lines("unforeseen_error") == []


async def test_new_calls_are_refused_while_draining() -> None:
    """
    A call that still comes on an open connection is told DRAINING and when to try again.
    """
    async with hosted(Scripted()) as server, stub_of(server) as stub:
        await stub.GetSignal(GetSignalRequest(), timeout=5)
        server._gate.refuse_new()
        error = await refusal(stub.GetSignal(GetSignalRequest(), timeout=5))
    assert (error.code, error.reason, error.retry_after_s) == (grpc.StatusCode.UNAVAILABLE, "DRAINING", 1.0)


async def test_load_balancers_get_their_pause() -> None:
    """
    Between NOT_SERVING and closing calls are served still, for as long as the setting says.
    """
    async with hosted(Scripted(), settings={"drain_wait_s": 1.0}) as server, channel_to(str(server.address)) as channel:
        began = asyncio.get_running_loop().time()
        server.stop()
        async with asyncio.timeout(30):
            while await unary(channel, CHECK)(b"", timeout=5) != b"\x08\x02":
                pass
        assert await unary(channel, GET)(b"", timeout=5) == b""
        await server.draining.wait()
        assert asyncio.get_running_loop().time() - began > 0.9


async def test_call_that_never_ends_does_not_hold_the_server() -> None:
    """
    When the time to finish is over, what is left is cancelled and the server ends.
    """
    entered = asyncio.Event()

    async def get(_request: Any, _context: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()

    settings = {"drain_timeout_s": 0.1}
    async with hosted(Scripted(get), settings=settings) as server, stub_of(server) as stub:
        call = stub.GetSignal(GetSignalRequest())
        await entered.wait()
        server.stop()
        error = await refusal(asyncio.wait_for(call, 10))
    assert error.code in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


@pytest.mark.parametrize("text", ["", " , ", "# later\n"])
def test_list_without_keys_opens_nothing(text: str) -> None:
    """
    A list of keys that is given and holds none is a mistake, not a server for everybody.
    """
    with pytest.raises(SettingsRefused, match="the list is given and holds none"):
        key_ring(told(env="production", api_keys=text))


def test_bad_list_of_keys_is_refused() -> None:
    """
    A list that does not parse is refused as a setting, without the key.
    """
    with pytest.raises(SettingsRefused, match="API keys: the environment's key list: key 1") as caught:
        key_ring(told(api_keys="ops:write:s3cret"))
    assert "s3cret" not in str(caught.value)


async def test_second_server_is_refused() -> None:
    """
    A second server on the same port fails at once and says so; the first goes on.
    """
    async with hosted(Scripted()) as server, stub_of(server) as stub:
        second = server_of(listen=str(server.address))
        with pytest.raises(AddressRefused, match=r"is in use: another server listens there\..* --listen"):
            await second.open()
        await second.close()
        assert server.web_address is not None
        third = server_of(metrics_port=server.web_address.port)
        with pytest.raises(AddressRefused, match="--metrics-port"):
            await third.open()
        await third.close()
        await stub.GetSignal(GetSignalRequest(), timeout=5)


async def test_port_taken_in_between_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Also when the port is taken after the look at it, gRPC does not share it.
    """
    monkeypatch.setattr("omen_rpc.server.check_free", lambda _address: None)
    async with hosted(Scripted()) as server:
        second = server_of(listen=str(server.address))
        with pytest.raises(AddressRefused, match="cannot listen on"):
            await second.open()
        await second.close()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0", "unix"])
async def test_listens_where_it_is_told(listen: str, tmp_path: Path) -> None:
    """
    IPv4, IPv6, a name and a Unix socket are served under the address that is told; a second on the socket is refused.
    """
    where = f"unix:{tmp_path}/s.sock" if listen == "unix" else listen
    async with hosted(Scripted(), settings={"listen": where}) as server, stub_of(server) as stub:
        assert await stub.GetSignal(GetSignalRequest(), timeout=5) == GetSignalResponse()
        assert server.web_address is not None
        with pytest.raises(AddressRefused, match="is in use"):
            await server_of(listen=str(server.address)).open()
        await stub.GetSignal(GetSignalRequest(), timeout=5)


async def test_server_describes_itself() -> None:
    """
    GetServerInfo tells program, engine, process, libraries, services and settings; a secret is stars.
    """
    settings = {"api_keys": "ops:read:s3cret-key"}
    async with hosted(Scripted(), settings=settings) as server, channel_to(str(server.address)) as channel:
        info = await ServerInfoServiceStub(channel).GetServerInfo(
            server_info_service_pb2.GetServerInfoRequest(), timeout=5, metadata=[("x-api-key", "s3cret-key")]
        )
    assert (info.service, info.engine) == ("test-server", "test")
    assert info.version
    assert info.instance_id
    assert info.started_at.seconds > 0
    assert {"python", "grpcio", "protobuf", "sqlite", "os"} <= set(info.library_versions)
    assert list(info.services) == ["omen.v1.SignalService", "omen.v1.ServerInfoService", "grpc.health.v1.Health"]
    assert {each.name: each.value for each in info.settings}["api_keys"] == "***"
    assert "s3cret" not in str(info)


def test_options_are_the_limits_of_the_settings() -> None:
    """
    No limit that a peer could set for us is left at the library's default, and the port is never shared.
    """
    chosen = dict(options(told(streams_per_connection_max=7, connection_idle_s=0.0001)))
    assert chosen["grpc.so_reuseport"] == 0
    assert chosen["grpc.max_concurrent_streams"] == 7
    assert chosen["grpc.max_connection_idle_ms"] == 1
    assert chosen["grpc.max_receive_message_length"] == 1 << 20
    assert chosen["grpc.max_allowed_incoming_connections"] == 1000
    assert chosen["grpc.http2.min_ping_interval_without_data_ms"] == 10_000
    assert chosen["grpc.server_max_unrequested_time_in_server"] == 5


def test_grpc_lets_in_more_than_there_are_places() -> None:
    """
    Grpc's own limit lies above all of ours, so that who finds no place is told so by us, in words.
    """
    settings = told()
    pools = limits(settings)
    assert set(pools.calls_max) == {"ingest", "query", "subscribe", "probe"}
    assert calls_max(settings) > sum(pools.calls_max.values()) + pools.bodies_awaited_max
