import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import REGISTRY

from omen.v1.server_info_service_pb2 import GetServerInfoRequest
from omen.v1.server_info_service_pb2_grpc import ServerInfoServiceStub
from omen.v1.signal_service_pb2 import (
    EmitSignalItem,
    EmitSignalsRequest,
    GetSignalRequest,
    GetSignalResponse,
    StreamSignalsRequest,
    StreamSignalsResponse,
)
from tests.hosting import Scripted, channel_to, drained_of, hosted, refusal, streaming, stub_of, unary, until

GET = "/omen.v1.SignalService/GetSignal"
STREAM = "/omen.v1.SignalService/StreamSignals"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


def open_calls(pool: str) -> float:
    """
    Return how many places of *pool* are taken, as /metrics says it.
    """
    return REGISTRY.get_sample_value("omen_rpc_calls_open", {"call_class": pool}) or 0.0


def bodies_awaited() -> float:
    """
    Return how many calls wait for their message, as /metrics says it.
    """
    return REGISTRY.get_sample_value("omen_rpc_bodies_awaited") or 0.0


def subscribers() -> float:
    """
    Return how many streams of signals are open.
    """
    return open_calls("subscribe")


class Held:
    """
    A method whose calls stay open until the test lets them end.
    """

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.release = asyncio.Event()

    async def get(self, request: Any, _context: Any) -> Any:
        """
        Answer at once, fail at once, or wait, as the id says.
        """
        if request.signal_id == "fail":
            raise RuntimeError
        if not request.signal_id:
            self.entered.release()
            await self.release.wait()
        return GetSignalResponse()

    async def stream(self, _request: Any, _context: Any) -> AsyncIterator[Any]:
        """
        Send one frame and wait.
        """
        self.entered.release()
        yield StreamSignalsResponse(cursor="first")
        await self.release.wait()

    async def wait_for(self, calls: int) -> None:
        """
        Wait until so many calls are inside.
        """
        async with asyncio.timeout(30):
            for _ in range(calls):
                await self.entered.acquire()


async def test_full_pool_refuses_and_is_free_again() -> None:
    """
    One call more than a pool has places is OVERLOADED with the limit and when to come back; when one ends, one may in.
    """
    held = Held()
    settings = {"query_calls_max": 2}
    async with hosted(Scripted(held.get), settings=settings) as server, stub_of(server) as stub:
        waiting = [stub.GetSignal(GetSignalRequest(), timeout=20) for _ in range(2)]
        await held.wait_for(2)
        assert open_calls("query") == 2
        error = await refusal(stub.GetSignal(GetSignalRequest(), timeout=5))
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
        assert (error.metadata["limit"], error.metadata["limit_name"]) == ("2", "query_calls_max")
        assert (error.retry_after_s, error.trailers["grpc-retry-pushback-ms"]) == (0.2, "200")
        held.release.set()
        await asyncio.gather(*waiting)
        await stub.GetSignal(GetSignalRequest(), timeout=5)
    assert open_calls("query") == 0


async def test_places_come_back_after_errors() -> None:
    """
    A call that fails gives its place back, whatever it failed of.
    """
    settings = {"query_calls_max": 1}
    async with hosted(Scripted(Held().get), settings=settings) as server, stub_of(server) as stub:
        for _ in range(3):
            assert (await refusal(stub.GetSignal(GetSignalRequest(signal_id="fail"), timeout=5))).reason == "INTERNAL"
        await stub.GetSignal(GetSignalRequest(signal_id="fine"), timeout=5)


async def test_pools_do_not_starve_each_other() -> None:
    """
    Streams that take every place of theirs leave the places of short calls alone; a stream that is cancelled frees its.
    """
    held = Held()
    settings = {"subscribe_calls_max": 1, "ingest_calls_max": 1}
    servicer = Scripted(stream=held.stream)
    async with hosted(servicer, settings=settings) as server, stub_of(server) as stub:
        first = stub.StreamSignals(StreamSignalsRequest())
        await first.read()
        error = await refusal(drained_of(stub.StreamSignals(StreamSignalsRequest(), timeout=5)))
        assert error.metadata["limit_name"] == "subscribe_calls_max"
        await stub.GetSignal(GetSignalRequest(), timeout=5)
        await stub.EmitSignals(EmitSignalsRequest(), timeout=5)
        first.cancel()
        await until(lambda: subscribers() == 0)
        again = stub.StreamSignals(StreamSignalsRequest())
        assert isinstance(await again.read(), StreamSignalsResponse)


async def test_watchers_do_not_starve_checks() -> None:
    """
    As many watches as there may be, which need no key, leave an orchestrator's health check its answer.
    """
    request = health_pb2.HealthCheckRequest(service="liveness").SerializeToString()
    async with (
        hosted(Scripted(), settings={"probe_calls_max": 2}) as server,
        channel_to(str(server.address)) as channel,
    ):
        watches = [channel.unary_stream(WATCH)(request) for _ in range(2)]  # type: ignore[var-annotated,arg-type]
        for watch in watches:
            assert await watch.read() == b"\x08\x01"
        third = channel.unary_stream(WATCH)(request, timeout=5)  # type: ignore[var-annotated,arg-type]
        assert (await refusal(third.read())).metadata["limit_name"] == "probe_calls_max"
        assert await unary(channel, CHECK)(request, timeout=5) == b"\x08\x01"


async def test_headers_without_a_message_run_into_a_timeout() -> None:
    """
    A call that sends nothing after its headers ends with the time it was given, and is not counted as waiting any more.
    """
    settings = {"body_timeout_s": 0.05}
    async with hosted(Scripted(), settings=settings) as server, channel_to(str(server.address)) as channel:
        error = await refusal(streaming(channel, GET)(timeout=10).read())
    assert (error.code, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_BODY_TIMEOUT")
    assert error.metadata == {"timeout_s": "0.05"}
    assert bodies_awaited() == 0


async def test_each_silence_runs_into_its_own_timeout() -> None:
    """
    A call that began to wait after another is ended after it, though one timer serves both and no other call comes.
    """
    settings = {"body_timeout_s": 0.2}
    async with hosted(Scripted(), settings=settings) as server, channel_to(str(server.address)) as channel:
        silent = [streaming(channel, GET)(timeout=10)]
        await until(lambda: bodies_awaited() == 1)
        silent.append(streaming(channel, GET)(timeout=10))
        assert [(await refusal(call.read())).reason for call in silent] == ["REQUEST_BODY_TIMEOUT"] * 2


async def test_longest_silence_makes_room() -> None:
    """
    When one call too many waits for its message, the one that has waited longest is ended, and whole calls go through.
    """
    settings = {"bodies_awaited_max": 2, "body_timeout_s": 60}
    async with hosted(Scripted(), settings=settings) as server, channel_to(str(server.address)) as channel:
        silent = []
        for _ in range(2):
            silent.append(streaming(channel, GET)(timeout=20))
            await until(lambda: bodies_awaited() == len(silent))
        silent.append(streaming(channel, GET)(timeout=20))
        assert (await refusal(silent[0].read())).reason == "REQUEST_BODY_TIMEOUT"
        for _ in range(3):
            await unary(channel, GET)(b"", timeout=5)
        await silent[2].write(b"")
        assert await silent[2].read() == b""


async def test_rate_limit_counts_signals() -> None:
    """
    A batch costs as many as it holds, a plain call one; what is over the rate is RESOURCE_EXHAUSTED with the delay in
    RetryInfo, in the pushback trailer and in the metadata.
    """
    settings = {"rate_limit_per_minute": 60, "rate_limit_burst": 10}
    async with hosted(Scripted(), settings=settings) as server, stub_of(server) as stub:
        await stub.EmitSignals(EmitSignalsRequest(signals=[EmitSignalItem()] * 9), timeout=5)
        await stub.GetSignal(GetSignalRequest(), timeout=5)
        error = await refusal(stub.EmitSignals(EmitSignalsRequest(signals=[EmitSignalItem()] * 5), timeout=5))
        health = await unary_check(str(server.address))
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert error.retry_after_s == pytest.approx(5, abs=1)
    assert int(error.trailers["grpc-retry-pushback-ms"]) == pytest.approx(5000, abs=1000)
    assert float(error.metadata["retry_after_s"]) == pytest.approx(5, abs=1)
    assert error.metadata["principal"] == "ipv4:127.0.0.1"
    assert health == b"\x08\x01"


async def unary_check(address: str) -> Any:
    """
    Ask for the health of the server at *address*.
    """
    async with channel_to(address) as channel:
        return await unary(channel, CHECK)(b"", timeout=5)


async def test_rate_limit() -> None:
    """
    Each key has a rate of its own, whichever connection it comes by; who guesses keys is limited by the host.
    """
    settings = {"rate_limit_per_minute": 1, "rate_limit_burst": 2, "api_keys": "a:read:key-a,b:read:key-b"}

    async def reason(stub: Any, key: str) -> str:
        call = stub.GetSignal(GetSignalRequest(), timeout=5, metadata=[("x-api-key", key)])
        return "" if await call.code() is grpc.StatusCode.OK else (await refusal(call)).reason

    async with hosted(Scripted(), settings=settings) as server, stub_of(server) as one, stub_of(server) as two:
        assert [await reason(stub, "key-a") for stub in (one, two, one)] == ["", "", "RATE_LIMITED"]
        assert [await reason(stub, "key-b") for stub in (two, one)] == ["", ""]
        guesses = [await reason(stub, f"guess-{n}") for n, stub in enumerate((one, two, one, two))]
        assert guesses == ["API_KEY_UNKNOWN", "API_KEY_UNKNOWN", "RATE_LIMITED", "RATE_LIMITED"]


async def test_no_rate_unless_set() -> None:
    """
    Without a setting nobody is limited.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        info = ServerInfoServiceStub(channel)
        for _ in range(3):
            assert (await info.GetServerInfo(GetServerInfoRequest(), timeout=5)).service == "test-server"
        many = EmitSignalsRequest(signals=[EmitSignalItem()] * 2000)
        assert await unary(channel, "/omen.v1.SignalService/EmitSignals")(many.SerializeToString(), timeout=5) == b""


async def test_oversized_message_is_refused_by_size() -> None:
    """
    A message above the limit ends its call, and the connection serves the next one.
    """
    settings = {"message_bytes_max": 1 << 16}
    async with hosted(Scripted(), settings=settings) as server, channel_to(str(server.address)) as channel:
        error = await refusal(unary(channel, GET)(b"\x0a" * (1 << 17), timeout=5))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await unary(channel, GET)(b"", timeout=5) == b""


async def test_reader_that_stalls_is_let_go() -> None:
    """
    A subscriber that takes nothing for too long is ended by the server, to come back after its last cursor.
    """
    big = "x" * 60_000

    async def stream(_request: Any, _context: Any) -> AsyncIterator[Any]:
        while True:
            yield StreamSignalsResponse(cursor=big)

    async with (
        hosted(Scripted(stream=stream), settings={"write_timeout_s": 0.1}) as server,
        channel_to(str(server.address), None, ("grpc.http2.bdp_probe", 0)) as channel,
    ):
        call = channel.unary_stream(STREAM)(b"", timeout=20)  # type: ignore[var-annotated,arg-type]
        await until(lambda: subscribers() == 1)
        await until(lambda: subscribers() == 0)
        error = await refusal(drained_of(call))
    assert error.reason == "SUBSCRIBER_STALLED"
