import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omen_cli import exits
from tests.certificates import Authority
from tests.clients.command import inside, omen
from tests.processes import running, tree_environment

NOISE = ("Traceback", "ipv4:", "UNKNOWN", "grpc", "errno", "AioRpcError")


@contextmanager
def mute() -> Iterator[str]:
    """
    Listen, take connections and never say a word; yield the address.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("line", "name", "remedy"),
    [
        (("stats", "--omen"), "OMEN", "Start it with omen up, or name another with --omen."),
        (("tail", "--omen"), "OMEN", "Start it with omen up, or name another with --omen."),
        (("partitions", "--omen"), "OMEN", "Start it with omen up, or name another with --omen."),
        (("ingest", "--example", "--riskcast"), "RiskCast", "or name another with --riskcast."),
        (
            ("reconcile", "run", "--reconciler"),
            "The reconciler",
            "Start it with omen-reconciler serve, or name another",
        ),
    ],
)
def test_a_server_that_is_not_there_is_named(
    line: tuple[str, ...],
    name: str,
    remedy: str,
) -> None:
    """
    Exit 4 and two lines: which server, where, and how to start it or name another; for programs the same as JSON.
    """
    at = "127.0.0.1:1"
    text = inside(*line, at)
    assert (text.code, text.out) == (exits.UNREACHABLE, "")
    assert text.err.splitlines()[0] == f"omen: {name} at {at} cannot be reached: Connection refused."
    assert remedy in text.err.splitlines()[1]
    assert len(text.err.splitlines()) == 2
    assert not [each for each in NOISE if each in text.err]
    if line[0] == "stats":
        told = json.loads(inside(*line, at, "-o", "jsonl").err)["error"]
        assert (told["code"], told["retryable"]) == ("UNAVAILABLE", True)
        assert (f"{name} at {at}" in told["message"], remedy in told["remedy"]) == (True, True)


def test_grpc_keeps_its_own_lines_to_itself() -> None:
    """
    The whole command as a process prints our two lines and nothing of the C core's.
    """
    ended = omen("stats", "--omen", "127.0.0.1:1")
    assert ended.code == exits.UNREACHABLE
    assert [line[:5] for line in ended.err.splitlines()] == ["omen:", "  → I"]


def test_tls_towards_a_server_without_it_is_told(servers: dict[str, str], tmp_path: Path) -> None:
    """
    What gRPC says of a handshake ends with OK; the user is told that it failed, and of what that comes.
    """
    ended = inside("stats", "--tls-ca", Authority(tmp_path).ca, **servers)
    assert ended.code == exits.UNREACHABLE
    assert "cannot be reached: the TLS handshake failed; it speaks no TLS, or its certificate" in ended.err


async def test_plain_text_towards_a_server_with_tls_is_told(tmp_path: Path) -> None:
    """
    A connection that is closed at once may mean TLS: the user is told what to give then, and not to start what runs.
    """
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    tls = (f"--tls-cert={cert}", f"--tls-key={key}")
    async with running("omen-server", *tls, "--riskcast=", cwd=tmp_path) as server:
        for verb in ("stats", "health"):
            ended = await asyncio.to_thread(inside, verb, "--omen", server.address)
            assert ended.code == exits.UNREACHABLE
            assert f"at {server.address} cannot be reached: it closed the connection at once." in ended.err
            assert "If it speaks TLS, give the CA of its certificate with --tls-ca" in ended.err
        assert (await asyncio.to_thread(inside, "stats", "--omen", server.address, "--tls-ca", authority.ca)).code == 0


def test_nobody_there_is_no_deadline() -> None:
    """
    A time too short for gRPC's own attempts makes no slow server of one that is not there.
    """
    ended = inside("stats", "--omen", "127.0.0.1:1", "--timeout-s", "0.5")
    assert ended.code == exits.UNREACHABLE
    assert "cannot be reached: no connection came up within 0.5 s" in ended.err


def test_what_does_not_answer_in_time_is_a_deadline() -> None:
    """
    Exit 5, with the time that was given and the flag that gives more.
    """
    with mute() as address:
        ended = inside("stats", "--omen", address, "--timeout-s", "0.5")
    assert ended.code == exits.DEADLINE
    assert f"OMEN at {address} did not answer within 0.5 s." in ended.err
    assert "--timeout-s" in ended.err


def test_what_is_not_there_is_not_found_and_a_conflict_is_a_conflict(servers: dict[str, str]) -> None:
    """
    Exit 3 for a partition and signals nobody has, 7 for a day that is not over, 2 for the wrong server.
    """
    for line in (("partition", "1999-01-01"), ("processed", "OMEN-NOBODY"), ("signal", "OMEN-NOBODY")):
        ended = inside(*line, **servers)
        assert (ended.code, ended.out) == (exits.NOT_FOUND, "")
        assert "→ omen explain " in ended.err
    today = json.loads(inside("partitions", "-o", "json", **servers).out)[0]["partition"]
    sealing = inside("seal", today, **servers)
    assert (sealing.code, "PARTITION_DAY_NOT_OVER" in sealing.err) == (exits.CONFLICT, True)
    elsewhere = inside("reconcile", "history", "--reconciler", servers["OMEN_ADDRESS"])
    assert elsewhere.code == exits.USAGE
    assert "omen" in elsewhere.err.splitlines()[-1]


async def test_a_key_that_may_not_is_exit_6(tmp_path: Path) -> None:
    """
    No key, a wrong one, and one without the scope: each is told what to give; the right one is let in.
    """
    keys = {"RISKCAST_SECURITY_API_KEYS": "reader:read:reading-key,writer:read,ingest:writing-key"}
    for name in ("reading", "writing", "wrong"):
        (tmp_path / name).write_text(f"{name}-key")
    async with running(
        "riskcast-server", f"--store=sqlite:///{tmp_path}/s.db", cwd=tmp_path, environment=keys
    ) as server:

        async def ingest(*flags: str | Path) -> tuple[int, str]:
            ended = await asyncio.to_thread(omen, "ingest", "--example", "--riskcast", server.address, *flags)
            return ended.code, ended.err

        codes = [
            await ingest(*flags)
            for flags in ((), *(("--api-key-file", tmp_path / name) for name in ("wrong", "reading")))
        ]
        assert [code for code, _ in codes] == [exits.NOT_ALLOWED] * 3
        assert all("Give --api-key-file" in err and "omen explain" in err for _, err in codes)
        assert (await ingest("--api-key-file", tmp_path / "writing"))[0] == 0


def test_a_round_by_hand_says_which_server_is_missing(tmp_path: Path) -> None:
    """
    `omen-reconciler run` uses the same words, and exits with 4.
    """
    line = ["-m", "reconciler", "run", "--all", "--omen", "127.0.0.1:1", "--state", f"sqlite:///{tmp_path}/s.db"]
    done = subprocess.run(
        [sys.executable, *line], capture_output=True, text=True, timeout=60, check=False, env=tree_environment()
    )
    assert (done.returncode, done.stdout) == (exits.UNREACHABLE, "")
    assert done.stderr == (
        "omen-reconciler: OMEN at 127.0.0.1:1 cannot be reached: Connection refused. "
        "Is it running? Start it, or name another with --omen.\n"
    )
