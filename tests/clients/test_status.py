"""
`omen status` and `omen check` over real servers: all well, some down, all down.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omen_cli import exits
from omen_cli.check.verdict import CRITICAL, OK, UNKNOWN, WARNING, Figure
from tests.clients.command import Ended
from tests.clients.command import inside as omen
from tests.clients.test_up import NAMES, addresses, running

KINDS = ("server", "ledger", "stream", "ingest", "reconcile", "e2e")
# How fast a machine answers that does a hundred other things says nothing of the check.
UNHURRIED = ("--warn-ms", "60000", "--crit-ms", "60000")
PATIENT = dict.fromkeys(("server", "stream", "e2e"), UNHURRIED)
NOBODY = {f"{name.upper()}_ADDRESS": "127.0.0.1:1" for name in NAMES}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return the data directory of the servers that these tests share.
    """
    return tmp_path_factory.mktemp("status") / "data"


@pytest.fixture(scope="module")
def where(place: Path) -> Iterator[dict[str, str]]:
    """
    Run servers with one signal, and return the environment that leads the command there.
    """
    with running(place, "-o", "json", "--reconcile=manual") as up:
        environment = addresses(up.ready()) | {"OMEN_DATA_DIR": str(place)}
        assert omen("emit", "--example", **environment).code == exits.OK
        assert omen("reconcile", "run", "--all", "--include-open", **environment).code == exits.OK
        yield environment


def told(ended: Ended) -> dict[str, Any]:
    """
    Return the one value that a command printed as JSON.
    """
    row: dict[str, Any] = json.loads(ended.out)
    return row


def check(kind: str, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """
    Make a check and return its code and what it printed; both say the same.
    """
    ended = omen("check", kind, *arguments, "-o", "json", **environment)
    row = told(ended)
    assert row["code"] == ended.code
    return ended.code, row


def test_one_table_says_how_everything_stands(where: dict[str, str], place: Path) -> None:
    """
    Servers with versions, all four offsets, the store, the breaker, the last round, the last verify, the disk; exit 0.
    """
    assert omen("reconcile", "run", "--all", "--include-open", **where).code == exits.OK
    assert omen("ledger", "verify", place).code == exits.OK
    ended = omen("status", "-o", "json", **where)
    whole = told(ended)
    assert ended.code == exits.OK, whole["problems"]
    assert [(row["server"], row["status"], row["up"]) for row in whole["servers"]] == [
        (name, "SERVING", "serving") for name in NAMES
    ]
    ledger = whole["ledger"]
    assert ledger["ledger_records"] >= 1
    assert ledger["written_offset"] == ledger["durable_offset"] == ledger["settled_offset"]
    assert whole["reconciled"] == {"records": ledger["ledger_records"], "of": ledger["ledger_records"]}
    assert whole["store"]["stored"] == ledger["ledger_records"]
    assert whole["breaker"]["state"] == "CLOSED"
    assert whole["reconcile"]["last_run"]["status"] == "COMPLETED"
    assert ledger["last_full_verify"]["intact"]
    assert ledger["free_bytes"] > 0
    text = omen("status", **where).out
    for name in ("written", "durable", "settled", "last full verify", "stored", "reconciled", "breaker", "disk"):
        assert f"\n{name} " in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_of_what_is_well_is_ok(where: dict[str, str], kind: str) -> None:
    """
    Exit 0, OK in the line, what was measured behind a bar as monitors read it.
    """
    line = omen("check", kind, *PATIENT.get(kind, ()), **where)
    assert line.code == OK, line
    assert line.out.startswith(f"OMEN {kind.upper()} OK: ")
    assert " | " in line.out
    assert len(line.out.splitlines()) == 1


def test_the_check_of_the_whole_way_leaves_one_signal_that_says_what_it_is(where: dict[str, str]) -> None:
    """
    It is in the ledger under an id and a title of its own, and stored once; the time it took is in the answer.
    """
    code, row = check("e2e", "--warn-ms", "60000", "--crit-ms", "60000", **where)
    assert code == OK
    signal_id = row["text"].split()[0]
    assert signal_id.startswith("OMEN-CHECKE2E")
    figures = {each["name"]: each["value"] for each in row["figures"]}
    assert 0 < figures["answered_ms"] <= figures["stored_ms"]
    found = told(omen("signal", signal_id, "-o", "json", **where))
    signal = found["event"]["signal"]
    assert signal["title"] == "Synthetic signal of omen check e2e"
    assert signal.get("probability") is None


def test_limits_decide_what_a_check_says(where: dict[str, str]) -> None:
    """
    A limit that is crossed warns with 1 or alarms with 2, and the sentence names it; freshness counts when asked for.
    """
    assert check("e2e", "--warn-ms", "0.001", "--crit-ms", "60000", **where)[0] == WARNING
    code, row = check("ledger", "--crit-age-s", "0", "--verify", "1", **where)
    assert code == CRITICAL
    assert "the newest record is" in row["troubles"][0]
    assert check("ledger", "--warn-free-mb", "1e12", **where)[0] == WARNING
    code, row = check("stream", "--min-subscribers", "1", **where)
    assert code == CRITICAL
    assert "0 subscribers, of at least 1" in row["troubles"][0]
    assert omen("reconcile", "pause", "a test", **where).code == exits.OK
    try:
        code, row = check("reconcile", **where)
        assert (code, row["troubles"]) == (WARNING, ["reconciling is paused"])
        assert (
            "Reconciling is paused; omen reconcile resume." in told(omen("status", "-o", "json", **where))["problems"]
        )
    finally:
        assert omen("reconcile", "resume", **where).code == exits.OK


def test_without_riskcast_the_rest_is_told_and_the_ledger_counts(where: dict[str, str]) -> None:
    """
    Status exits with 4, says that RiskCast is held down, and counts Ledger-only; checks of its way are critical, and
    the check of the whole way says that its signal is durable.
    """
    assert omen("kill", "riskcast", **where).code == exits.OK
    try:
        ended = omen("status", **where)
        assert ended.code == exits.UNREACHABLE
        assert "UNREACHABLE (held)" in ended.out
        assert "Ledger-only: " in ended.out
        assert "Reconcile will recover" in ended.out
        assert check("ingest", **where)[0] == CRITICAL
        assert check("server", "riskcast", **where)[0] == CRITICAL
        code, row = check("e2e", **where)
        assert code == CRITICAL
        assert "durable and not with RiskCast" in row["troubles"][0]
        code, row = check("reconcile", "--crit-age-s", "0", "--warn-age-s", "0", **where)
        assert code == CRITICAL
        assert "unproven" in row["troubles"][0]
    finally:
        assert omen("start", "riskcast", **where).code == exits.OK
    assert omen("reconcile", "run", "--all", "--include-open", **where).code == exits.OK
    assert check("reconcile", "--crit-age-s", "0", "--warn-age-s", "0", **where)[0] == OK


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_of_nobody_is_critical(kind: str) -> None:
    """
    When nobody answers, exit 2 and one line.
    """
    line = omen("check", kind, OMEN_TIMEOUT_S="1", **NOBODY)
    assert line.code == CRITICAL, line
    assert line.out.startswith(f"OMEN {kind.upper()} CRITICAL: ")
    assert kind != "server" or line.out.count("cannot be reached: Connection refused") == 3


@pytest.mark.parametrize(
    "wrong",
    [("e2e", "--nope"), ("nothing",), ("server", "--warn-days", "1"), ("e2e", "--warn-ms", "2", "--crit-ms", "1")],
)
def test_a_check_that_makes_no_sense_is_unknown(wrong: tuple[str, ...]) -> None:
    """
    A usage error exits with 3: to a monitor 2 would say that something is broken.
    """
    ended = omen("check", *wrong)
    assert ended.code == UNKNOWN
    assert ended.out == ""


def test_with_nobody_there_the_ledger_is_counted_from_its_files(ledger: Path) -> None:
    """
    Status says that nobody answers and where to look; --ledger counts each partition, and damage in it exits with 1.
    """
    data_dir = ledger.parent
    nobody = omen("status", "--data-dir", data_dir, OMEN_TIMEOUT_S="1", **NOBODY)
    assert nobody.code == exits.UNREACHABLE
    assert f"omen status --ledger {data_dir}" in nobody.out
    text = omen("status", "--ledger", data_dir)
    assert text.code == exits.OK
    assert "Ledger-only: " in text.out
    assert "Reconcile will recover" in text.out
    whole = told(omen("status", "--ledger", ledger, "-o", "json"))
    assert whole["mode"] == "Ledger-only"
    assert whole["records"] == sum(each["total_records"] for each in whole["partitions"]) > 0
    # It is no server's data directory, so nothing is noted beside it.
    assert omen("ledger", "verify", ledger).code == exits.OK
    assert [each.name for each in data_dir.iterdir()] == ["ledger"]
    shutil.rmtree(ledger)
    assert omen("status", "--ledger", ledger).code == exits.NOT_FOUND


@pytest.mark.parametrize(
    ("value", "falling", "level"),
    [
        (0, False, OK),
        (5, False, WARNING),
        (10, False, CRITICAL),
        (0, True, CRITICAL),
        (5, True, CRITICAL),
        (11, True, OK),
    ],
)
def test_a_figure_is_judged_by_its_limits(value: float, falling: bool, level: int) -> None:
    """
    From a limit on, or down from it, it warns or alarms; the alarm counts when both do.
    """
    figure = Figure("x", value, 10 if falling else 5, 5 if falling else 10, falling=falling)
    assert figure.level == level
    assert str(figure) == (f"x={value};10:;5:" if falling else f"x={value};5;10")
