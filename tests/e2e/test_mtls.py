"""
Three servers in production that know each other and their callers by certificates and keys, both changed under load.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from omen.v1 import signal_service_pb2 as pb
from omen_cli.certificate import days_left
from omen_client import ClientFiles, OmenClient, RiskCastClient
from omen_rpc.errors import CallError
from tests.e2e.command import command
from tests.e2e.pair import figures, ready
from tests.hosting import channel_to, refusal, unary
from tests.processes import ServerProcess, running

DAY_S = 86_400
INFO = "/omen.v1.ServerInfoService/GetServerInfo"
PRODUCTION = ("--env=production", "--drain-wait-s=0")


@dataclass
class Load:
    """
    What callers have been told.
    """

    delivered: int = 0
    failures: list[object] = field(default_factory=list)


@asynccontextmanager
async def emitting(client: OmenClient, load: Load) -> AsyncIterator[None]:
    """
    Emit signals without a pause in four tasks while the block runs; each waits until RiskCast has its signal.
    """
    numbers = iter(range(1, 10_000_000))

    async def forever() -> None:
        while True:
            item = ready(next(numbers))
            try:
                result = await client.emit(item.signal, delivery=pb.DELIVERY_AWAIT)
            except CallError as error:
                load.failures.append(error)
                continue
            if result.status == pb.EMIT_STATUS_DELIVERED:
                load.delivered += 1
            else:
                load.failures.append(result)

    tasks = [asyncio.create_task(forever()) for _ in range(4)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def more(load: Load) -> None:
    """
    Wait until some more signals are delivered.
    """
    wanted = load.delivered + 50
    async with asyncio.timeout(20):
        while load.delivered < wanted:  # noqa: ASYNC110 - the load tells nobody
            await asyncio.sleep(0.01)


async def read_again(server: ServerProcess, times: int) -> None:
    """
    Wait until a server has read its list of keys so often, its start counted.
    """
    async with asyncio.timeout(20):
        while sum(line["event"] == "api_keys_read" for line in server.lines) < times:  # noqa: ASYNC110 - lines are kept
            await asyncio.sleep(0.01)


def keys(place: Path, *names: str) -> None:
    """
    Write the servers' list of keys, one for each name.
    """
    lines = "".join(f"{name}:ingest,read,admin:sk-{name}-51Hx\n" for name in names)
    (place / "theirs").write_text(lines)
    (place / "theirs").chmod(0o600)


def own(place: Path, name: str) -> None:
    """
    Write the key that every caller shows.
    """
    (place / "own").write_text(f"sk-{name}-51Hx\n")
    (place / "own").chmod(0o600)


async def health(servers: dict[str, ServerProcess], tls: Path, place: Path) -> tuple[int, list[str], str]:
    """
    Ask all three with the command, over mTLS; return the exit code, the statuses, and what it said beside.
    """
    code, out, err = await command(
        "health", *servers, *to_all(servers, tls), f"--api-key-file={place}/own", "-o", "json"
    )
    return code, sorted({row["status"] for row in json.loads(out)}), err


def to_all(servers: dict[str, ServerProcess], tls: Path) -> list[str]:
    """
    Return the flags that lead the command to servers, over mTLS.
    """
    line = [f"--{name}={server.address}" for name, server in servers.items()]
    files = [f"--tls-ca={tls}/ca.pem", f"--tls-client-cert={tls}/client.pem", f"--tls-client-key={tls}/client.key"]
    return line + files


@pytest.mark.timeout(120)
async def test_certificates_and_keys_are_rotated_under_load(tmp_path: Path) -> None:
    """
    Emits, pushes and rounds go on while every certificate and every key is replaced: no call of a caller fails, none of
    a server, and afterwards the new ones are in use and the old ones are not. Who shows no certificate is not served.
    """
    tls = tmp_path / "tls"
    assert (await command("tls", "init", str(tls), "--days", "5"))[0] == 0
    keys(tmp_path, "one")
    own(tmp_path, "one")
    serving = (
        *PRODUCTION,
        f"--tls-cert={tls}/server.pem",
        f"--tls-key={tls}/server.key",
        f"--tls-client-ca={tls}/ca.pem",
        f"--api-keys-file={tmp_path}/theirs",
    )
    calling = (
        f"--tls-ca={tls}/ca.pem",
        f"--tls-client-cert={tls}/client.pem",
        f"--tls-client-key={tls}/client.key",
        f"--riskcast-api-key-file={tmp_path}/own",
    )
    files, load = ClientFiles(tls / "ca.pem", tls / "client.pem", tls / "client.key"), Load()
    async with (
        running("riskcast-server", *serving, cwd=tmp_path) as far,
        running("omen-server", *serving, *calling, f"--riskcast={far.address}", cwd=tmp_path) as near,
        running(
            "omen-reconciler",
            *serving,
            *calling,
            f"--riskcast={far.address}",
            f"--omen={near.address}",
            f"--omen-api-key-file={tmp_path}/own",
            "--interval=0.3",
            cwd=tmp_path,
        ) as reconciler,
        OmenClient(near.address, api_key=tmp_path / "own", tls=files) as client,
        RiskCastClient(far.address, api_key=tmp_path / "own", tls=files) as riskcast,
    ):
        servers = {"omen": near, "riskcast": far, "reconciler": reconciler}
        code, statuses, said = await health(servers, tls, tmp_path)
        assert (code, statuses, said.count("runs out in 5.0 days")) == (0, ["SERVING"], 3), said
        code, out, _ = await command("check", "server", "--warn-ms=1e6", "--crit-ms=1e6", *to_all(servers, tls))
        assert (code, out.count("runs out in 5.0 days")) == (1, 3), out
        assert (await near.line("certificate_expires", kind="client"))["days"] == 5.0
        async with emitting(client, load):
            await more(load)
            assert (await command("tls", "renew", str(tls)))[0] == 0
            keys(tmp_path, "one", "two")
            await asyncio.gather(*(read_again(each, 2) for each in (near, far)))
            own(tmp_path, "two")
            await more(load)
            keys(tmp_path, "two")
            await asyncio.gather(*(read_again(each, 3) for each in (near, far)))
            await asyncio.gather(*(each.line("certificate_read") for each in (near, far)))
            await more(load)
        assert load.failures == []
        assert (await riskcast.stats()).accepted >= load.delivered
        await check_new_in_use(servers, tls, tmp_path)
        for server in servers.values():
            assert [line for line in server.lines if line["level"] in {"error", "critical"}] == []
        seen = await figures(near)
        assert [name for name in seen if name.startswith("omen_push_errors_total")] == []
        assert seen['omen_push_breaker_state{state="closed"}'] == 1


async def check_new_in_use(servers: dict[str, ServerProcess], tls: Path, place: Path) -> None:
    """
    Every server shows its new certificate and says so in its metrics, rounds succeed, the old key opens nothing, and
    nobody gets in without a certificate.
    """
    code, statuses, said = await health(servers, tls, place)
    assert (code, statuses, said) == (0, ["SERVING"], "")
    shown = ClientFiles(tls / "ca.pem", tls / "client.pem", tls / "client.key")
    nameless = grpc.ssl_channel_credentials((tls / "ca.pem").read_bytes())
    for server in servers.values():
        days = await days_left(server.address, shown, 5.0)
        assert days is not None
        assert days > 300
        left_s = {
            name: value
            for name, value in (await figures(server)).items()
            if name.startswith("omen_tls_certificate_expiry_seconds")
        }
        assert min(left_s.values()) > 300 * DAY_S
        assert {"server", "client_ca"} <= {name.split('"')[1] for name in left_s}
        async with channel_to(server.address, nameless) as channel:
            error = await refusal(unary(channel, INFO)(b"", timeout=5))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        async with OmenClient(server.address, api_key="sk-one-51Hx", tls=shown) as late:
            with pytest.raises(CallError, match="not one of the server's"):
                await late.info()
    success = "omen_reconcile_last_success_timestamp"
    before = (await figures(servers["reconciler"]))[success]
    async with asyncio.timeout(20):
        while (await figures(servers["reconciler"]))[success] <= before:  # noqa: ASYNC110 - a scrape is how one asks
            await asyncio.sleep(0.1)
