import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from omen_cli import exits
from omen_cli.output import harmless
from omen_rpc.contract import catalogue
from tests.clients.command import OMEN, omen
from tests.processes import running, tree_environment


def test_version_is_answered_without_importing_what_it_does_not_need() -> None:
    """
    `omen --version` imports neither grpc nor the command's own machinery.
    """
    script = (
        "import sys; sys.argv = ['omen', '--version']\n"
        "from omen_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'grpc', 'cyclopts', 'rich', 'google.protobuf'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=tree_environment()
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"omen \d+\.\d+\.\d+\S*\n", done.stdout)


def test_a_verb_imports_no_other_verb() -> None:
    """
    Running one verb leaves the modules of the others unread.
    """
    script = (
        "import sys; from omen_cli.app import run; run(['version'])\n"
        "others = {'omen_cli.up', 'omen_cli.health', 'omen_cli.explain', 'omen_cli.ledger', 'omen_cli.index',\n"
        "          'omen_cli.bench', 'omen_cli.config', 'omen_cli.demo', 'omen_server'} & set(sys.modules)\n"
        "assert not others, others\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=tree_environment()
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "line",
    [
        ("helth",),
        ("health", "--nope"),
        ("health", "nobody"),
        ("version", "-o", "yaml"),
        ("up", "--port", "x"),
        ("ledger", "verfy"),
        ("ledger", "cat"),
        ("ledger", "prove"),
        ("bench", "ledger", "--seconds", "0"),
    ],
)
def test_usage_errors_exit_2_and_print_no_data(line: Sequence[str]) -> None:
    """
    A line that makes no sense ends with 2, says why on stderr, and prints nothing on stdout.
    """
    ended = omen(*line)
    assert ended.code == exits.USAGE
    assert ended.out == ""
    assert ended.err.startswith("omen: ")


@pytest.mark.parametrize(
    "spelling", [("-o", "json"), ("-o=json",), ("-ojson",), ("--output", "json"), ("--output=json",)]
)
def test_errors_are_json_for_whoever_asked_for_json(spelling: Sequence[str]) -> None:
    """
    However -o json is written, an error is one line of JSON on stderr.
    """
    ended = omen("explain", "NO_SUCH_THING", *spelling)
    assert ended.code == exits.NOT_FOUND
    assert json.loads(ended.err)["error"]["reason"] == "REASON_UNKNOWN"


def test_explain_tells_every_error_of_the_catalogue() -> None:
    """
    Without a reason all are listed; with one, also in small letters or with the enum's prefix, that one.
    """
    listed = json.loads(omen("explain", "-o", "json").out)
    assert [each["reason"] for each in listed] == list(catalogue())
    for spelling in ("cursor_invalid", "ERROR_REASON_CURSOR_INVALID"):
        told = json.loads(omen("explain", spelling, "-o", "json").out)
        assert told["reason"] == "CURSOR_INVALID"
        assert told["code"] == "OUT_OF_RANGE"
        assert "earliest cursor" in told["remedy"]


def test_a_misspelt_reason_gets_a_suggestion() -> None:
    """
    The nearest reason is offered.
    """
    ended = omen("explain", "RATE_LIMITD")
    assert ended.code == exits.NOT_FOUND
    assert "RATE_LIMITED" in ended.err


async def test_health_tells_each_service_and_its_exit_codes(tmp_path: Path) -> None:
    """
    0 when all serve, 4 when a server cannot be reached; every service is named.
    """
    async with running("omen-server", cwd=tmp_path) as server:
        well = await asyncio.to_thread(omen, "health", "omen", "--omen", server.address, "-o", "json")
        rows = json.loads(well.out)
        assert well.code == 0
        assert {row["service"] for row in rows} >= {"", "liveness", "readiness", "omen.v1.SignalService"}
        assert {row["status"] for row in rows} == {"SERVING"}
    gone = await asyncio.to_thread(omen, "health", "omen", OMEN_ADDRESS=server.address)
    assert gone.code == exits.UNREACHABLE
    assert "UNREACHABLE" in gone.out
    assert f"OMEN at {server.address} cannot be reached: Connection refused." in gone.err


def test_every_status_code_has_an_exit_code() -> None:
    """
    A call's status decides the exit code; what is not listed is a bug.
    """
    assert {code: exits.of(code) for code in grpc.StatusCode} == {
        grpc.StatusCode.OK: 0,
        grpc.StatusCode.CANCELLED: 130,
        grpc.StatusCode.UNKNOWN: 70,
        grpc.StatusCode.INVALID_ARGUMENT: 2,
        grpc.StatusCode.DEADLINE_EXCEEDED: 5,
        grpc.StatusCode.NOT_FOUND: 3,
        grpc.StatusCode.ALREADY_EXISTS: 7,
        grpc.StatusCode.PERMISSION_DENIED: 6,
        grpc.StatusCode.UNAUTHENTICATED: 6,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 4,
        grpc.StatusCode.FAILED_PRECONDITION: 7,
        grpc.StatusCode.ABORTED: 7,
        grpc.StatusCode.UNIMPLEMENTED: 2,
        grpc.StatusCode.OUT_OF_RANGE: 2,
        grpc.StatusCode.INTERNAL: 70,
        grpc.StatusCode.UNAVAILABLE: 4,
        grpc.StatusCode.DATA_LOSS: 1,
    }


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    """
    `omen explain | head -1` ends quietly.
    """
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{OMEN} explain | head -1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=tree_environment(),
    )
    assert done.stdout.startswith("REASON")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (r"signals --text $'\xff'", exits.USAGE, "is no UTF-8"),
        ("signals --timeout-s -1", exits.USAGE, "--timeout-s -1 is no time that a call may take"),
        ("emit <&-", exits.USAGE, "stdin is closed"),
        ("version >&-", exits.USAGE, "stdout is closed"),
        ("version >/dev/full", exits.PROBLEM, "No space left on device"),
        ("tls init /dev/null/x", exits.PROBLEM, "Give a directory that can be written."),
        ("check >/dev/null", exits.UNKNOWN, ""),
        ("health nobody 2>&-", exits.USAGE, ""),
        (r"signal '$'\e[31m'' -o nothing", exits.USAGE, "Invalid"),
    ],
)
def test_a_shell_that_is_odd_gets_a_sentence(line: str, code: int, told: str) -> None:
    """
    Arguments that are no text, closed or full streams, times below zero: an exit code and words, and no bug of ours.
    """
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{OMEN} {line}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=tree_environment(),
    )
    assert (done.returncode, done.stdout) == (code, ""), done
    assert told in done.stderr
    assert "bug" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_terminal_obeys_nobody_but_us() -> None:
    """
    Escape sequences in what is told are spelt out; letters of any language and line breaks stay.
    """
    assert harmless("a\x1b[31m\x07\u202e 東京 é\nb") == r"a\x1b[31m\x07\u202e 東京 é" + "\nb"
