"""
The two server programs as processes: how they start, answer, refuse and end.
"""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from omen.v1.server_info_service_pb2 import GetServerInfoRequest
from omen.v1.server_info_service_pb2_grpc import ServerInfoServiceStub
from omen_rpc.contract import catalogue, services
from omen_rpc.health import NOT_SERVING, SERVING
from omen_rpc.status import from_rpc_error
from tests.certificates import Authority
from tests.e2e.refusing import refused
from tests.hosting import channel_to, refusal, streaming, unary
from tests.processes import ServerProcess, running, started

PROGRAMS = ["omen-server", "riskcast-server"]
OMEN = ["omen.v1.LedgerService", "omen.v1.OperationsService", "omen.v1.ServerInfoService", "omen.v1.SignalService"]
RISKCAST = ["omen.v1.ServerInfoService", "riskcast.v1.IngestService", "riskcast.v1.InventoryService"]
SERVED = {"omen-server": OMEN, "riskcast-server": RISKCAST}
TOOLS = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
FIRST_CALL = {
    "omen-server": ("omen.v1.SignalService", "GetSignal"),
    "riskcast-server": ("riskcast.v1.InventoryService", "GetProcessedSignal"),
}
SECRET = "sk-live-51Hx"

each_program = pytest.mark.parametrize("program", PROGRAMS)


def health_of(channel: grpc.aio.Channel) -> Any:
    """
    Return the library's own health client.
    """
    return health_pb2_grpc.HealthStub(channel)


def asking(name: str = "") -> health_pb2.HealthCheckRequest:
    """
    Make the question for one name.
    """
    return health_pb2.HealthCheckRequest(service=name)


async def output_of(*command: str | Path) -> tuple[int, str]:
    """
    Run a tool and return its exit code and all that it printed.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


async def get(server: ServerProcess, path: str) -> tuple[int, str]:
    """
    Ask the server's HTTP port, without holding up the loop.
    """

    def ask() -> tuple[int, str]:
        try:
            with urlopen(f"http://{server.web}{path}", timeout=10) as reply:
                return reply.status, reply.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


@each_program
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_graceful_shutdown(program: str, number: signal.Signals, tmp_path: Path) -> None:
    """
    A server says once that it serves, where and with which engine, on lines of JSON alone; a signal ends it with 0.
    """
    async with running(program, cwd=tmp_path) as server:
        async with channel_to(server.address) as channel:
            assert (await health_of(channel).Check(asking(), timeout=5)).status == SERVING
        assert await server.stop(number) == 0
    serving = [line for line in server.lines if line["event"] == "serving"]
    assert len(serving) == 1
    assert {"address", "engine", "metrics"} <= serving[0].keys()
    assert (serving[0]["service"], serving[0]["pid"]) == (program.split("-", maxsplit=1)[0], server.pid)
    assert [line["event"] for line in server.lines][-1] == "drained"
    assert "text" not in {line["event"] for line in server.lines}


@each_program
async def test_health_answers_for_every_name(program: str, tmp_path: Path) -> None:
    """
    Check, Watch and List answer for the whole, for liveness and readiness and for every service; another is not found.
    """
    names = ["", "liveness", "readiness", *SERVED[program]]
    async with running(program, cwd=tmp_path) as server, channel_to(server.address) as channel:
        for name in names:
            assert (await health_of(channel).Check(asking(name), timeout=5)).status == SERVING
        assert (await refusal(health_of(channel).Check(asking("nobody"), timeout=5))).code is grpc.StatusCode.NOT_FOUND
        watch = health_of(channel).Watch(asking("nobody"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()
        code, listed = await output_of("grpcurl", "-plaintext", server.address, "grpc.health.v1.Health/List")
    assert code == 0
    assert json.loads(listed)["statuses"] == {name: {"status": "SERVING"} for name in names}


async def test_watchers_hear_of_the_end_before_the_port_closes(tmp_path: Path) -> None:
    """
    On SIGTERM a watcher, /readyz and Check say that the server is going while it still answers, and then it goes.
    """
    async with running("omen-server", "--drain-wait-s=1.5", cwd=tmp_path) as server:
        async with channel_to(server.address) as channel, channel_to(server.address) as other:
            watch = health_of(channel).Watch(asking("omen.v1.SignalService"))
            assert (await watch.read()).status == SERVING
            server.process.send_signal(signal.SIGTERM)
            assert (await asyncio.wait_for(watch.read(), 10)).status == NOT_SERVING
            assert (await health_of(other).Check(asking(), timeout=5)).status == NOT_SERVING
            assert (await health_of(other).Check(asking("liveness"), timeout=5)).status == SERVING
            assert await get(server, "/readyz") == (503, "not ready\n")
            assert await get(server, "/livez") == (200, "ok\n")
            assert (await ServerInfoServiceStub(other).GetServerInfo(GetServerInfoRequest(), timeout=5)).services
            assert await asyncio.wait_for(watch.read(), 10) is grpc.aio.EOF
        assert await server.wait() == 0


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_second_signal_ends_at_once(second: signal.Signals, code: int, tmp_path: Path) -> None:
    """
    Who signals twice does not want to wait: the server ends now, with the exit code of the second signal.
    """
    async with running("riskcast-server", "--drain-wait-s=60", cwd=tmp_path) as server:
        server.process.send_signal(signal.SIGTERM)
        await server.line("draining")
        assert await asyncio.wait_for(server.stop(second), 10) == code
        assert server.lines[-1]["event"] == "stopped_at_once"


async def test_second_server_on_a_port_is_refused(tmp_path: Path) -> None:
    """
    A second server on either port of another ends at once with 2 and says which flag gives another; the first goes on.
    """
    async with running("omen-server", cwd=tmp_path) as server:
        for flag, address in (("--listen", server.address), ("--metrics-port", server.web)):
            value = address if flag == "--listen" else address.rpartition(":")[2]
            line = await asyncio.to_thread(refused, "riskcast-server", f"{flag}={value}")
            assert line == f"{address} is in use: another server listens there. Stop it, or give another with {flag}."
        async with channel_to(server.address) as channel:
            assert (await health_of(channel).Check(asking(), timeout=5)).status == SERVING


@each_program
async def test_tools_find_everything_by_reflection(program: str, tmp_path: Path) -> None:
    """
    Grpcurl and buf curl, which hold no protos, list and describe every service by v1 and v1alpha, and print an error
    with its ErrorInfo.
    """
    service, method = FIRST_CALL[program]
    async with running(program, cwd=tmp_path) as server:
        grpcurl = ("grpcurl", "-plaintext")
        code, text = await output_of(*grpcurl, server.address, "list")
        assert (code, text.split()) == (0, sorted(TOOLS + SERVED[program]))
        for name in SERVED[program]:
            code, text = await output_of(*grpcurl, server.address, "describe", name)
            assert (code, text.splitlines()[0]) == (0, f"{name} is a service:")
        code, text = await output_of(*grpcurl, server.address, "describe", f"{service}.{method}")
        assert (code, text.splitlines()[0]) == (0, f"{service}.{method} is a method:")
        code, text = await output_of(*grpcurl, "-d", "{}", server.address, f"{service}/{method}")
        assert code != 0
        assert '"@type":"type.googleapis.com/google.rpc.ErrorInfo"' in text
        assert f'"domain":"{service.rpartition(".")[0]}"' in text
        for version in ("grpc-v1", "grpc-v1alpha"):
            buf = ("buf", "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--reflect-protocol", version)
            code, text = await output_of(*buf, "--list-services", f"http://{server.address}")
            assert (code, text.split()) == (0, sorted(TOOLS + SERVED[program]))
            code, text = await output_of(*buf, "--list-methods", f"http://{server.address}")
            assert f"{service}/{method}" in text.split()
            code, text = await output_of(*buf, "-d", "{}", f"http://{server.address}/{service}/{method}")
            assert code > 0 == code % 8  # Eight times the status code.
            assert '"type": "google.rpc.ErrorInfo"' in text


async def test_production_hides_reflection(tmp_path: Path) -> None:
    """
    In production nothing is described, unless asked for, and nothing is answered without a key but health.
    """
    keys = {"OMEN_SECURITY_API_KEYS": f"ops:read:{SECRET}", "OMEN_ENV": "production"}
    for arguments, described in ((), False), (("--reflection",), True):
        async with running("omen-server", "--drain-wait-s=0", *arguments, cwd=tmp_path, environment=keys) as server:
            code, text = await output_of("grpcurl", "-plaintext", server.address, "list")
            assert (code == 0) == described
            assert ("omen.v1.SignalService" in text) == described
            async with channel_to(server.address) as channel:
                info = ServerInfoServiceStub(channel)
                assert (await health_of(channel).Check(asking(), timeout=5)).status == SERVING
                assert (
                    await refusal(info.GetServerInfo(GetServerInfoRequest(), timeout=5))
                ).reason == "API_KEY_MISSING"
                reply = await info.GetServerInfo(GetServerInfoRequest(), timeout=5, metadata=[("x-api-key", SECRET)])
                assert reply.service == "omen-server"
            assert await server.stop() == 0
        assert SECRET not in "".join(server.raw)


@each_program
async def test_every_rpc_answers_in_the_catalogue(program: str, tmp_path: Path) -> None:
    """
    Every RPC of the contract answers an empty request with a reply or with an error of the catalogue, in the package's
    own domain, and with a request id; nothing crashes.
    """
    hosted = [service for service in services() if service.full_name in SERVED[program]]
    assert len(hosted) == len(SERVED[program])
    async with running(program, cwd=tmp_path) as server, channel_to(server.address) as channel:
        for service in hosted:
            for method in service.methods:
                call = streaming(channel, f"/{service.full_name}/{method.name}")(timeout=20)
                await call.write(b"")
                await call.done_writing()
                try:
                    reply = await call.read()
                except grpc.aio.AioRpcError as raised:
                    error = from_rpc_error(raised)
                    assert error.reason in catalogue(), (method.full_name, error.code, error.message)
                    assert error.reason != "INTERNAL"
                    assert error.domain == service.file.package
                    assert error.trailers["x-request-id"]
                else:
                    assert isinstance(reply, bytes) or method.server_streaming
                call.cancel()
        assert await server.stop() == 0


async def test_streams_without_a_message_are_refused_at_once(tmp_path: Path) -> None:
    """
    A stream that never sends its message is refused from its headers: without a key, with a wrong one, with one whose
    scope is too small.
    """
    file = tmp_path / "keys"
    file.write_text("feeder:ingest:k-ingest\n")
    async with (
        running("omen-server", f"--api-keys-file={file}", "--body-timeout-s=60", cwd=tmp_path) as server,
        channel_to(server.address) as channel,
    ):
        for key, code in ((None, "UNAUTHENTICATED"), ("wrong", "UNAUTHENTICATED"), ("k-ingest", "PERMISSION_DENIED")):
            metadata = [("x-api-key", key)] if key else []
            call = streaming(channel, "/omen.v1.SignalService/StreamSignals")(metadata=metadata)
            assert (await asyncio.wait_for(call.code(), 5)).name == code


@each_program
async def test_http_port_answers_beside_grpc(program: str, tmp_path: Path) -> None:
    """
    /metrics counts the calls just made, unknown methods under other; /livez and /readyz say ok, the rest is not there.
    """
    service, method = FIRST_CALL[program]
    async with running(program, cwd=tmp_path) as server, channel_to(server.address) as channel:
        await refusal(unary(channel, f"/{service}/{method}")(b"\xff", timeout=5))
        await refusal(unary(channel, "/made.up/Name")(b"", timeout=5))
        status, text = await get(server, "/metrics")
        assert [await get(server, path) for path in ("/livez", "/readyz")] == [(200, "ok\n")] * 2
        assert [(await get(server, path))[0] for path in ("/", "/metrics/x")] == [404, 404]
    assert status == 200
    assert f'omen_rpc_calls_total{{code="INVALID_ARGUMENT",method="{method}",service="{service}"}} 1.0' in text
    assert 'omen_rpc_calls_total{code="UNIMPLEMENTED",method="other",service="other"} 1.0' in text
    assert 'omen_rpc_calls_refused_total{reason="MALFORMED_REQUEST"} 1.0' in text
    assert "omen_server_ready 1.0" in text
    assert "made.up" not in text


async def test_tls_serves_off_loopback(tmp_path: Path) -> None:
    """
    With a certificate a server listens on every address, and a tool that trusts the CA reaches it.
    """
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    flags = [f"--tls-cert={cert}", f"--tls-key={key}", "--listen=0.0.0.0:0"]
    async with running("riskcast-server", *flags, cwd=tmp_path) as server:
        port = server.address.rpartition(":")[2]
        trusting = ("grpcurl", "-cacert", str(authority.ca), f"localhost:{port}")
        assert (await output_of(*trusting, "list"))[0] == 0
        assert (await output_of("grpcurl", "-plaintext", "-max-time", "3", f"localhost:{port}", "list"))[0] != 0
        assert await server.stop() == 0


async def test_signal_while_starting_ends_as_quietly(tmp_path: Path) -> None:
    """
    A server that is told to go before it serves ends with 0 all the same, or by the signal if it has hardly begun.
    """
    server = await started("omen-server", cwd=tmp_path)
    assert await server.stop() in {0, -signal.SIGTERM}
    assert [line for line in server.lines if line["event"] in {"text", "unforeseen_error"}] == []
