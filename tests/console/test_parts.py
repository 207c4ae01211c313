"""
The console's small parts: how values look, what a round is called, whom to ask instead of the console.
"""

import inspect
import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from omen_client import OmenClient, ReconcileClient, RiskCastClient
from omen_client.operations import Operations
from omen_console import shown, words
from omen_console.equivalents import WAYS, Equivalents
from omen_console.rounds import Round
from omen_console.settings import PROGRAM, ConsoleSettings
from omen_console.upstream import Trouble
from omen_rpc.contract import services
from omen_rpc.settings import SettingsRefused, load
from reconcile.v1 import reconcile_service_pb2 as pb

NOW = datetime(2026, 1, 28, 12, tzinfo=UTC)
ABOUT = {
    "partition": "2026-01-28",
    "signal_id": "OMEN-EXAMPLE0001",
    "signal": {"signal_id": "OMEN-EXAMPLE0001", "title": "It's 'quoted'; $(rm -rf /)"},
    "event": {"signal_id": "OMEN-EXAMPLE0001", "signal": {"title": "It's 'quoted'; $(rm -rf /)"}},
    "after": 4,
    "include_open": True,
}
CLIENTS = {"omen": OmenClient, "riskcast": RiskCastClient, "reconciler": ReconcileClient}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (10 << 20, "10.0 MiB"), (1 << 63, "8,192.0 PiB")],
)
def test_sizes(value: int, text: str) -> None:
    """
    Bytes are shown in the largest unit that leaves a figure before the point.
    """
    assert shown.size(value) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=1), "just now"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(minutes=3, seconds=59), "3 min ago"),
        (timedelta(hours=30), "1 d ago"),
        (timedelta(seconds=-90), "in 1 min"),
    ],
)
def test_ages(ago: timedelta, text: str) -> None:
    """
    Relative times are whole units.
    """
    assert shown.age(NOW - ago, NOW) == text


def test_no_title_turns_the_order_of_reading() -> None:
    """
    Characters that would turn a sentence around are shown as their codes; other text, and what is none, stays.
    """
    assert shown.in_order("\u202etxt.exe\u2069 日本 \u05d0") == "\\u202etxt.exe\\u2069 日本 \u05d0"
    assert shown.in_order(None) is None


def test_a_time_says_its_moment() -> None:
    """
    A time is an element with its exact moment, in UTC unless asked otherwise; one that was never set is a dash.
    """
    at = Timestamp(seconds=1769594405, nanos=5_000_000)
    assert shown.when(at, NOW) == (
        '<time datetime="2026-01-28T10:00:05.005Z" title="2026-01-28T10:00:05.005Z">2026-01-28 10:00:05Z</time>'
    )
    assert ">1 h ago</time>" in shown.when(at, NOW, "relative")
    assert shown.when(Timestamp(), NOW) == shown.NOTHING


@pytest.mark.parametrize(
    ("summary", "results", "headline", "tone"),
    [
        ({"replayed_count": 2, "completed": 1}, [], "Replayed 2", "good"),
        ({"skipped": 3}, ["up_to_date"], "Up to date", "good"),
        ({"completed": 1}, [""], "Up to date", "good"),
        ({}, [], "Up to date", "good"),
        ({"skipped": 1}, ["main_partition_not_sealed"], "Nothing to do: main partition not sealed", "good"),
        ({"partial": 1, "replayed_count": 1, "remaining_count": 4}, [], "Replayed 1, 4 still missing", "warn"),
        ({"failed": 1}, [""], "Failed: see below", "bad"),
    ],
)
def test_a_rounds_headline(summary: dict[str, int], results: list[str], headline: str, tone: str) -> None:
    """
    What a round came to is said in a few words, and never better than it was.
    """
    made = Round("all", NOW, results=[pb.ReconcileResult(reason=each) for each in results])
    assert (made.headline, made.tone) == ("Reconciling", "plain")
    made.summary = pb.RunReconcileResponse.Summary(**summary)  # type: ignore[arg-type]  # Counts only.
    assert (made.headline, made.tone) == (headline, tone)
    made.trouble = Trouble("reconciler", "down", "UNAVAILABLE", "", "Nobody is there.")
    assert (made.headline, made.tone) == ("Not reconciled: Nobody is there.", "bad")


def test_a_rounds_progress() -> None:
    """
    A round under way says where it is.
    """
    made = Round("all", NOW)
    made.progress = pb.RunReconcileResponse.Progress(
        partition="2026-01-28", phase=pb.RECONCILE_PHASE_REPLAYING, replayed=5, missing=10, partition_number=1,
        partition_total=3,
    )  # fmt: skip
    assert made.headline == "Reconciling 2026-01-28 (1 of 3): replaying, 5 of 10 replayed"


@pytest.mark.parametrize("tls_ca", [None, Path("/a b/ca.pem")])
@pytest.mark.parametrize("name", sorted(WAYS))
def test_every_panel_names_things_that_exist(name: str, tls_ca: Path | None) -> None:
    """
    The command is one of ours, the method is in the contract with these fields, the Python compiles and calls a
    method that the client has; no value can break out of its quotes.
    """
    from omen_cli.app import application  # noqa: PLC0415 - only this test needs the command

    settings = ConsoleSettings(
        data_dir=Path("/a b/.omen"), omen="omen.example:1", riskcast="unix:/tmp/a b.sock", tls_ca=tls_ca
    )
    way, same = WAYS[name], Equivalents(settings)(name, **ABOUT)
    words_said = shlex.split(same.cli.rpartition("| ")[2])
    assert words_said[0] == "omen"
    function, *_ = application().parse_args(words_said[1:], exit_on_error=False, print_error=False)
    assert function.__module__.startswith("omen_cli.")
    if "|" in same.cli:
        assert json.loads(shlex.split(same.cli)[1]) in (ABOUT["signal"], ABOUT["event"])
    methods = {f"{each.full_name}/{method.name}": method for each in services() for method in each.methods}
    method = methods[way.method]
    assert {*(way.request or {})} <= {field.name for field in method.input_type.fields}
    compile(same.python, name, "exec")
    call = way.python.partition("(")[0].split(".")[1:]
    holder = Operations if call[0] == "operations" else CLIENTS[way.server]
    assert inspect.isfunction(getattr(holder, call[-1]))
    sent = shlex.split(same.grpcurl)
    assert sent[1] == ("-plaintext" if tls_ca is None else "-cacert")
    assert sent[-2:] == [getattr(settings, way.server), way.method]
    if way.request:
        assert json.loads(sent[sent.index("-d") + 1]) == {field: ABOUT[each] for field, each in way.request.items()}
    assert ("/a b/.omen" in shlex.split(same.cli)) is ("{data_dir}" in way.command)


def test_each_proof_names_a_test_that_exists(root: Path) -> None:
    """
    The proofs name the tests that hold them.
    """
    text = "".join(path.read_text() for path in (root / "tests").rglob("test_*.py") if path.name != "test_parts.py")
    assert [each.test for each in words.PROOFS if f"def {each.test}(" not in text] == []


@pytest.mark.parametrize(
    ("flags", "words_said"),
    [
        (("--read-only", "--writable"), "exclude each other"),
        (("--base-path=/a/../b",), "must be a path"),
        (("--base-path=/<b>/",), "must be a path"),
        (("--call-timeout-s=0",), "greater than 0"),
        (("--omen-address=x",), "no flag"),
    ],
)
def test_settings_that_cannot_be_are_refused(flags: tuple[str, ...], words_said: str) -> None:
    """
    A wrong flag is named, in words.
    """
    with pytest.raises(SettingsRefused, match=words_said):
        load(ConsoleSettings, PROGRAM, flags, {})


@pytest.mark.parametrize(("given", "path"), [("/", "/"), ("", "/"), ("x/y", "/x/y/"), ("/x//y/", "/x/y/")])
def test_a_base_path_begins_and_ends_with_a_slash(given: str, path: str) -> None:
    """
    However it is given.
    """
    assert load(ConsoleSettings, PROGRAM, [f"--base-path={given}"], {}).settings.base_path == path
