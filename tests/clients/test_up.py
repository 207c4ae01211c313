"""
`omen up`, `down`, `kill` and `start`: real servers, started, killed and stopped as a user would.
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from omen_cli import exits
from omen_cli.running.claim import STATE, end_left_behind, left_behind, read
from omen_cli.running.plans import Wishes, chosen, plans
from omen_cli.running.ports import HOST, Ports
from omen_cli.running.processes import birth
from tests.clients.command import OMEN, inside, omen
from tests.e2e.full_disk import fill, mounted_small_disk
from tests.processes import tree_environment

PORTS = ("--port=0", "--metrics-port=0", "--console-port=0")
NAMES = ("omen", "riskcast", "reconciler")


class Up:
    """
    A running `omen up` and what it says.
    """

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.row: dict[str, Any] = {}  # What it said when it was ready, for those that share it.
        line: list[str | Path] = [OMEN, "up", *PORTS, f"--data-dir={data_dir}", *arguments]
        self.process: subprocess.Popen[str] = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=tree_environment()
        )

    def said(self) -> str:
        """
        Return the next line on stdout.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return line.rstrip("\n")

    def told(self) -> str:
        """
        Return the next line on stderr.
        """
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def ready(self) -> dict[str, Any]:
        """
        Return the line of JSON in which it says that it is ready.
        """
        found: dict[str, Any] = json.loads(self.said())
        return found

    def end(self, *numbers: signal.Signals) -> tuple[int, str]:
        """
        Send signals, wait for the end, and return its exit code and what else it said on stderr.
        """
        for number in numbers:
            self.process.send_signal(number)
        # Less than what a server that does not stop is given: whoever had to wait that long did not end as asked.
        _, err = self.process.communicate(timeout=40)
        return self.process.returncode, err


@contextmanager
def running(data_dir: Path, *arguments: str) -> Iterator[Up]:
    """
    Run an `omen up` while the block runs. Whatever is left of it at the end is killed.
    """
    up = Up(data_dir, *arguments)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.end(signal.SIGTERM)
        for _, pid, _ in left_behind(data_dir):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return the data directory of the servers that most tests share.
    """
    return tmp_path_factory.mktemp("up") / "data"


@pytest.fixture(scope="module")
def up(place: Path) -> Iterator[Up]:
    """
    Run servers that most tests share, with nobody reconciling by itself.
    """
    with running(place, "-o", "json", "--reconcile=manual") as started:
        started.row = started.ready()
        yield started


def addresses(row: dict[str, Any]) -> dict[str, str]:
    """
    Return the environment that leads the command to the servers.
    """
    return {f"{name.upper()}_ADDRESS": row[name]["address"] for name in NAMES}


def test_one_line_of_json_says_what_runs(up: Up, place: Path) -> None:
    """
    The line names every server with its address and living process, the ledger as it was found, and the store.
    """
    row = up.row
    for name in NAMES:
        assert row[name]["pid"] > 1
        os.kill(read(place)["servers"][name]["pid"], 0)
    assert row["data_dir"] == str(place)
    assert row["reconcile_every_s"] is None
    assert row["ledger"]["last_full_verify"] is None
    assert row["ledger"]["tail"] == {"quarantined_bytes": 0, "gaps": 0}
    health = inside("health", *NAMES, "-o", "json", **addresses(row))
    assert health.code == exits.OK, health


def test_a_second_up_in_the_same_directory_is_told_who_holds_it(up: Up, place: Path) -> None:
    """
    It ends with 7 and names the process and since when; --detach refuses in the same words, and nothing is disturbed.
    """
    for more in ((), ("--detach", "--wait")):
        refused = omen("up", *PORTS, "--data-dir", place, "-o", "json", *more)
        error = json.loads(refused.err)["error"]
        assert refused.code == exits.CONFLICT
        assert re.search(rf"process {up.process.pid}, since 2\d{{3}}-\d\d-\d\dT[\d:]+Z", error["message"])
        assert up.row["omen"]["address"] in error["message"]
        assert "omen down" in error["remedy"]
    assert inside("health", *NAMES, **addresses(up.row)).code == exits.OK


def test_a_killed_server_stays_down_until_it_is_started(up: Up, place: Path) -> None:
    """
    `omen kill` ends the process for real, once; signals go on into the ledger; `omen start` brings it back in place.
    """
    where = addresses(up.row)
    first = json.loads(inside("kill", "riskcast", "--data-dir", place, "-o", "json").out)
    with pytest.raises(ProcessLookupError):
        os.kill(first["killed_pid"], 0)
    again = json.loads(inside("kill", "riskcast", "--data-dir", place, "-o", "json").out)
    assert again["killed_pid"] == 0
    assert read(place)["servers"]["riskcast"]["state"] == "held"
    assert inside("health", "riskcast", **where).code == exits.UNREACHABLE
    emitted = json.loads(inside("emit", "--example", "-o", "json", **where).out)
    assert emitted[0]["status"] == "LEDGER_ONLY"
    back = json.loads(inside("start", "riskcast", "--data-dir", place, "-o", "json").out)
    assert back["address"] == where["RISKCAST_ADDRESS"]
    assert back["pid"] not in {0, first["killed_pid"]}
    assert inside("health", "riskcast", **where).code == exits.OK
    assert "RiskCast serves again" in up.told()


def test_with_reconciling_left_to_the_user_nothing_is_brought_before_told(up: Up, place: Path) -> None:
    """
    What RiskCast missed is still missing for a reconciler that has just been started; the first round brings it.
    """
    where = addresses(up.row)
    line = json.dumps({"signal_id": "OMEN-UPMANUAL01", "title": "Missed", "probability": 0.5})
    assert inside("reconcile", "run", "--all", "--include-open", **where).code == exits.OK
    assert inside("kill", "riskcast", "--data-dir", place).code == exits.OK
    assert json.loads(omen("emit", "-o", "json", said=line, **where).out)[0]["status"] == "LEDGER_ONLY"
    for name, orders in (("riskcast", ("start",)), ("reconciler", ("kill", "start"))):
        for order in orders:
            assert inside(order, name, "--data-dir", place).code == exits.OK
        assert "serves again" in up.told()
    round_ = inside("reconcile", "run", "--all", "--include-open", "-o", "jsonl", **where)
    assert sum(json.loads(each).get("replayed_count", 0) for each in round_.out.splitlines()) == 1, round_
    told = json.loads(inside("signal", "OMEN-UPMANUAL01", "-o", "json", **where).out)
    assert (told["status"], told["at_riskcast"]) == ("LEDGER_ONLY", "stored, by RECONCILE")
    assert told["riskcast_ack_id"].startswith("riskcast-ack-")


def test_a_server_that_dies_by_itself_is_started_again(up: Up, place: Path) -> None:
    """
    The user is told how it ended and when it serves again, at the same address.
    """
    address = up.row["reconciler"]["address"]
    os.kill(read(place)["servers"]["reconciler"]["pid"], signal.SIGKILL)
    assert "Reconciler ended with code -9; starting it again in 0.5 s" in up.told()
    assert f"Reconciler serves again on {address}" in up.told()
    assert read(place)["servers"]["reconciler"]["restarts"] >= 1


def test_only_servers_that_run_can_be_killed(up: Up, place: Path, tmp_path: Path) -> None:
    """
    Where no omen up runs, and for a server it does not have, `kill` and `start` end with 3; a name that is none with 2.
    """
    assert up.row
    for verb in ("kill", "start"):
        nobody = inside(verb, "omen", "--data-dir", tmp_path / "nobody")
        assert nobody.code == exits.NOT_FOUND
        assert "omen up starts one" in nobody.err
        assert inside(verb, "postgres", "--data-dir", place).code == exits.USAGE
    if "console" not in up.row:
        assert inside("kill", "console", "--data-dir", place).code == exits.NOT_FOUND


def test_ctrl_c_keeps_the_data_and_the_next_banner_counts_them(tmp_path: Path) -> None:
    """
    Ctrl-C drains all servers and ends with 0; started again, the banner tells the signal that was there, and SIGTERM
    does the same.
    """
    place = tmp_path / "data"
    with running(place, "-o", "json") as up:
        row = up.ready()
        assert row["reconcile_every_s"] == 30
        assert inside("emit", "--example", **addresses(row)).code == exits.OK
        code, said = up.end(signal.SIGINT)
        assert code == exits.OK
        assert "the data is kept" in said
        for name in NAMES:
            with pytest.raises(ProcessLookupError):
                os.kill(row[name]["pid"], 0)
        assert not (place / STATE).exists()
    with running(place) as up:
        banner = [up.said() for _ in range(8)]
        assert banner[0].endswith("dev · loopback only · no TLS · no API key")
        ledger = next(line for line in banner if line.startswith("  Ledger"))
        assert ledger.endswith("synced before every answer) · 1 signal · tail checked, last full verify: never")
        assert up.end(signal.SIGTERM)[0] == exits.OK


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    """
    A server that does not stop holds up the first Ctrl-C only; the second kills it and ends with 130.
    """
    with running(tmp_path / "data", "-o", "json") as up:
        row = up.ready()
        os.kill(row["riskcast"]["pid"], signal.SIGSTOP)
        up.process.send_signal(signal.SIGINT)
        assert "once more kills" in up.told()
        code, said = up.end(signal.SIGINT)
        assert code == 130
        assert "killing the servers" in said
        with pytest.raises(ProcessLookupError):
            os.kill(row["riskcast"]["pid"], 0)


def test_what_a_killed_up_left_behind_is_found_and_stopped(tmp_path: Path) -> None:
    """
    After SIGKILL of omen up its servers go on; the next omen up stops exactly those, says so, and serves.
    """
    place = tmp_path / "data"
    with running(place, "-o", "json") as first:
        row = first.ready()
        first.end(signal.SIGKILL)
        left = {(name, pid) for name, pid, _ in left_behind(place)}
        assert {(name, row[name]["pid"]) for name in NAMES} <= left
        detached = omen("up", *PORTS, "--data-dir", place, "--detach", "--wait", "-o", "json")
        assert detached.code == exits.OK, detached
        fresh = json.loads(detached.out)
        assert "ended without stopping omen" in (place / "logs" / "up.log").read_text()
        for name in NAMES:
            assert fresh[name]["pid"] != row[name]["pid"]
            os.kill(fresh[name]["pid"], 0)
        down = inside("down", "--data-dir", place, "-o", "json")
        assert set(NAMES) <= set(json.loads(down.out)["stopped"])
        assert birth(fresh["detached_pid"]) == ""
        assert "nothing runs" in inside("down", "--data-dir", place).err


def test_no_stranger_is_ever_stopped(tmp_path: Path) -> None:
    """
    A process that merely has an id the file names is left alone; the one the file means is ended.
    """
    with subprocess.Popen(["sleep", "60"]) as stranger, subprocess.Popen(["sleep", "60"]) as ours:
        servers = {
            "omen": {"pid": stranger.pid, "born": "an earlier process of this id"},
            "riskcast": {"pid": ours.pid, "born": birth(ours.pid)},
            "reconciler": {"pid": 0, "born": ""},
        }
        (tmp_path / STATE).write_text(json.dumps({"pid": 1, "servers": servers}))
        assert asyncio.run(end_left_behind(tmp_path)) == ["riskcast"]
        assert ours.wait(5) == -signal.SIGTERM
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "7"}', '{"pid": 7, "servers": []}'])
def test_a_state_file_that_makes_no_sense_means_nothing(tmp_path: Path, text: str) -> None:
    """
    Whatever a crash left in the file, nobody is found by it.
    """
    (tmp_path / STATE).write_text(text)
    assert left_behind(tmp_path) == []


def test_nothing_of_an_ephemeral_up_is_left(tmp_path: Path) -> None:
    """
    It says that it keeps nothing, and its directory goes with it; a --data-dir beside it is refused.
    """
    assert inside("up", "--ephemeral", "--data-dir", tmp_path).code == exits.USAGE
    process = subprocess.Popen(
        [OMEN, "up", *PORTS, "--ephemeral", "-o", "json"], stdout=subprocess.PIPE, text=True, env=tree_environment()
    )
    assert process.stdout is not None
    row = json.loads(process.stdout.readline())
    place = Path(row["data_dir"])
    assert row["ephemeral"]
    assert (place / "ledger").is_dir()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == exits.OK
    process.stdout.close()
    assert not place.exists()


def test_a_directory_that_is_no_ledger_is_refused_in_words(tmp_path: Path) -> None:
    """
    A ledger directory from elsewhere, and a path that is a file, end it with the path, the reason and what to do.
    """
    place = tmp_path / "data"
    (place / "ledger").mkdir(parents=True)
    (place / "ledger" / "holiday.jpg").write_text("no ledger")
    refused = omen("up", *PORTS, "--data-dir", place)
    assert refused.code == exits.PROBLEM
    assert f"{place}/ledger is not a ledger: it has no _LEDGER.json" in refused.err
    assert "→ Mend what it names, or start in another place with --data-dir." in refused.err
    assert left_behind(place) == []
    file = tmp_path / "file"
    file.write_text("")
    for wrong in (file, file / "below"):
        ended = omen("up", *PORTS, "--data-dir", wrong)
        assert ended.code == exits.USAGE
        assert "is not a directory" in ended.err


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """
    On a disk without room, where servers cannot even log why they end, the user is told of the disk and what to do.
    """
    with mounted_small_disk(tmp_path / "disk") as disk:
        fill(disk / "all.bin")
        refused = omen("up", *PORTS, "--data-dir", disk / "data", "-o", "json")
    error = json.loads(refused.err)["error"]
    assert refused.code == exits.PROBLEM
    assert error["reason"] == "DISK_FULL"
    assert "0 bytes are free" in error["message"]
    assert "Make room" in error["remedy"]


def test_a_default_port_in_use_moves_on_and_a_given_one_is_refused() -> None:
    """
    Of ports by default the free ones are taken, none twice; one that was asked for and is taken is named.
    """
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = Ports()
        found = [*ports.row(2, None, port, "--port"), *ports.row(2, None, port, "--metrics-port")]
        assert port not in found
        assert len(set(found)) == 4
        with pytest.raises(exits.Stopped, match=rf"{HOST}:{port} is in use.*another with --port"):
            chosen(port=port, metrics_port=0)
    with pytest.raises(exits.Stopped, match="no port"):
        chosen(port=65535)


def test_settings_of_other_servers_do_not_reach_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Keys, certificates and databases in the environment are left out, or the banner would not be true; the rest stays.
    """
    for name in ("OMEN_SECURITY_API_KEYS", "RISKCAST_TLS_CERT", "RECONCILER_STATE", "DATABASE_URL", "KEPT"):
        monkeypatch.setenv(name, "x")
    environments = [plan.environment or {} for plan in plans(Wishes(directory=Path(), ports=chosen(0, 0, 0)))]
    assert len(environments) >= 3
    for each in environments:
        assert each["KEPT"] == "x"
        assert not {"OMEN_SECURITY_API_KEYS", "RISKCAST_TLS_CERT", "RECONCILER_STATE", "DATABASE_URL"} & set(each)


@pytest.mark.parametrize("wrong", [("--wait",), ("--reconcile-every", "0"), ("--reconcile", "never"), ("--port", "-1")])
def test_flags_that_make_no_sense_start_nothing(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    """
    They end with 2, and not even the directory is made.
    """
    place = tmp_path / "data"
    assert inside("up", *wrong, "--data-dir", place).code == exits.USAGE
    assert not place.exists()
