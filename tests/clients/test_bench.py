import json
from pathlib import Path

import pytest

from omen_cli.app import spelt
from omen_cli.bench.budgets import Budget
from omen_cli.bench.figures import percentiles_ms
from omen_cli.bench.profile import judged
from tests.clients.command import omen


def test_every_case_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    """
    Each case has its rate, latencies, syncs and bytes, the machine stands beside them, and nothing is left behind.
    """
    ended = omen("bench", "ledger", "--seconds", "1", "--dir", tmp_path, "-o", "json")
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    appended = [figure for figure in told["figures"] if figure["p50_ms"] is not None]
    assert [figure["producers"] for figure in appended if figure["case"] == "append"] == [1, 8, 32, 256]
    for figure in appended:
        assert figure["p50_ms"] <= figure["p90_ms"] <= figure["p99_ms"] <= figure["p999_ms"]
        assert figure["bytes_per_record"] > 100
        assert figure["rate_per_s"] > 0
    [single] = [figure for figure in appended if figure["case"] == "append, a sync each"]
    assert single["syncs_per_record"] >= 1
    assert {figure["case"] for figure in told["figures"]} >= {"full scan", "verify", "segment roll", "signal events"}
    assert {figure["payload"] for figure in told["figures"]} == {"json", "protobuf"}
    assert told["times_a_sync_each"] > 0
    assert {"sync_mode", "processor", "cores", "file_system", "python"} <= told.keys()
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_what_it_depends_on(tmp_path: Path) -> None:
    """
    Text has a line a case, and the sync mode and the machine below.
    """
    ended = omen("bench", "ledger", "--seconds", "0.5", "--dir", tmp_path)
    assert ended.code == 0
    assert "sync mode" in ended.out
    assert "file system" in ended.out


@pytest.mark.parametrize("line", [("--seconds", "0"), ("--dir", "/nowhere/at/all")])
def test_what_makes_no_sense_is_refused(line: tuple[str, str]) -> None:
    """
    Exit 2 without a time or a directory.
    """
    assert omen("bench", "ledger", *line).code == 2


def test_percentiles_are_of_the_calls() -> None:
    """
    Of the latencies 1 to 1000 ms half do not exceed 501, and one in a thousand is the longest.
    """
    found = percentiles_ms([number / 1000 for number in range(1, 1001)])
    assert {name: round(value) for name, value in found.items()} == {
        "p50_ms": 501,
        "p90_ms": 901,
        "p99_ms": 991,
        "p999_ms": 1000,
    }
    assert percentiles_ms([0.001])["p999_ms"] == 1.0


def test_every_case_of_ingest_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    """
    `omen bench ingest` measures its ten cases against servers of its own, with the ratios and the machine beside.
    """
    ended = omen("bench", "ingest", "--seconds", "2", "--dir", tmp_path, "-o", "json")
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    cases = [(figure["case"], figure["producers"]) for figure in told["figures"]]
    assert cases[:4] == [("health check", 64), ("echo", 64), ("raw unary", 64), ("coalesced", 1)]
    assert len(cases) == 10
    for figure in told["figures"]:
        assert figure["p50_ms"] <= figure["p90_ms"] <= figure["p99_ms"] <= figure["p999_ms"]
        assert figure["records"] > 0
    assert told["raw_unary_to_echo"] > 0 < told["raw_unary_to_health_check"]
    assert told["coalesced_64_to_raw_unary"] > 0
    assert told["store"] == "sqlite"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("verb", "count"), [("emit", 8), ("e2e", 7)])
def test_every_case_of_omen_is_measured_and_nothing_is_left(tmp_path: Path, verb: str, count: int) -> None:
    """
    `omen bench emit` and `e2e` measure each case against servers of their own; a case brought signals.
    """
    ended = omen("bench", verb, "--seconds", "2", "--dir", tmp_path, "-o", "json")
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    assert len(told["figures"]) == count
    for figure in told["figures"]:
        assert figure["p50_ms"] <= figure["p90_ms"] <= figure["p99_ms"] <= figure["p999_ms"]
        assert figure["records"] > 0
    assert "processor" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_streams_are_measured_and_nothing_is_left(tmp_path: Path) -> None:
    """
    `omen bench stream` reads all it has written, with the filter a tenth of it, and every subscriber has all that came.
    """
    ended = omen("bench", "stream", "--seconds", "3", "--dir", tmp_path, "-o", "json")
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    cases = {(figure["case"], figure["payload"]): figure for figure in told["figures"]}
    assert len(cases) == len(told["figures"]) == 7
    for payload in ("json", "protobuf"):
        everything, tenth = cases["catch-up", payload], cases["catch-up, filtered", payload]
        assert everything["received"] % told["ledger_records"] == 0
        assert tenth["received"] % (told["ledger_records"] // 10) == 0
        assert min(everything["received"], tenth["received"]) > 0
    live, stalled = cases["live", "protobuf"], cases["live, 50 stalled", "protobuf"]
    assert (live["subscribers"], live["received"] % (20 * 100)) == (20, 0)
    assert min(each["emitted_per_s"] for each in (cases["producer alone", "protobuf"], live, stalled)) > 0
    assert stalled["received"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_rounds_are_measured_and_nothing_is_left(tmp_path: Path) -> None:
    """
    `omen bench reconcile` has a day without each case's signals, and a round that brings exactly those; comparing costs
    a few calls and bytes however many positions there are.
    """
    ended = omen("bench", "reconcile", "--positions", "2000", "--dir", tmp_path, "-o", "json")
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    assert [(figure["case"], figure["missing"], figure["positions"]) for figure in told["figures"]] == [
        ("everything", 2000, 2000),
        ("nothing", 0, 2000),
        ("scattered", 1, 2000),
        ("scattered", 100, 2000),
        ("burst", 200, 2000),
    ]
    nothing = told["figures"][1]
    assert nothing["bytes_compared"] <= 100
    assert (nothing["omen_calls"], nothing["riskcast_calls"]) == (3, 1)
    for figure in told["figures"]:
        assert 0 < figure["found_s"] <= figure["seconds"]
    assert "processor" in told
    assert list(tmp_path.iterdir()) == []
    assert omen("bench", "reconcile", "--positions", "3", "--dir", tmp_path).code == 2


def test_a_budget_is_kept_or_not() -> None:
    """
    A rate is to be at least its budget, a latency at most; one that is not kept fails the profile.
    """
    rate = Budget("all", "emit", "coalesced", 64, "rate_per_s", 1000)
    latency = Budget("one", "emit", "coalesced", 1, "p99_ms", 20)
    rows = [
        {"case": "coalesced", "producers": 64, "rate_per_s": 1000, "p99_ms": 900},
        {"case": "coalesced", "producers": 1, "rate_per_s": 1, "p99_ms": 20.1},
    ]
    assert [judged(each, rows)["verdict"] for each in (rate, latency)] == ["PASS", "FAIL"]
    assert (judged(rate, rows)["figure"], judged(latency, rows)["figure"]) == (1000, 20.1)
    assert (rate.verdict(999.9), latency.verdict(20.0)) == ("FAIL", "PASS")


def test_the_profile_has_another_spelling() -> None:
    """
    `bench --profile X` is `bench profile X`, and no other line is touched.
    """
    assert spelt(["bench", "--profile", "laptop", "-o", "json"]) == ["bench", "profile", "laptop", "-o", "json"]
    assert spelt(["bench", "--profile=laptop"]) == ["bench", "profile", "laptop"]
    assert spelt(["bench", "emit", "--profile"]) == ["bench", "emit", "--profile"]
