"""
Bringing signals and raw events to a running OMEN with the command, and looking at what became of them.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from omen.v1 import signal_service_pb2 as pb
from omen_cli import exits
from omen_client import InvalidRequest, OmenClient
from tests.clients.command import omen
from tests.e2e.pair import raw, ready
from tests.hosting import Scripted, hosted

USGS = Path(__file__).parent.parent / "omen_server/pipeline/fixtures/usgs"


def line(signal_id: str, **more: Any) -> str:
    """
    Return a ready signal as a line of JSON.
    """
    return json.dumps({"signal_id": signal_id, "title": f"Signal {signal_id}", "probability": 0.5} | more) + "\n"


def raw_line(number: int) -> str:
    """
    Return the n-th raw event as a line of JSON.
    """
    return json.dumps(json_format.MessageToDict(raw(number))) + "\n"


def test_signals_from_a_file_and_from_stdin_are_the_same(servers: dict[str, str], tmp_path: Path) -> None:
    """
    What a file brings is delivered; the same on stdin appends nothing and is told the first place and ack.
    """
    file = tmp_path / "signals.jsonl"
    file.write_text(line("OMEN-CLIFILE001") + "\n" + line("OMEN-CLIFILE002"))
    first = omen("emit", file, "-o", "json", **servers)
    again = omen("emit", "-", "-o", "json", said=file.read_text(), **servers)
    assert first.code == again.code == exits.OK
    brought, known = json.loads(first.out), json.loads(again.out)
    assert [each["status"] for each in brought] == ["DELIVERED", "DELIVERED"]
    assert [each["cached"] for each in known] == [True, True]
    for name in ("ack_id", "partition", "index", "offset"):
        assert [each[name] for each in known] == [each[name] for each in brought]


@pytest.mark.parametrize("verb", ["emit", "submit"])
@pytest.mark.parametrize("bad", ["{nonsense", "7", '{"title": 7, "probability": []}'])
def test_a_line_that_says_nothing_is_named(servers: dict[str, str], verb: str, bad: str) -> None:
    """
    The line's number is in the error, empty lines counted, which exits with 2, and nothing before it was sent.
    """
    good = line("OMEN-CLIBADLINE1") if verb == "emit" else raw_line(900)
    ended = omen(verb, said=f"{good}\n{bad}\n", **servers)
    assert ended.code == exits.USAGE, ended
    assert "line 3" in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert omen("signal", "OMEN-CLIBADLINE1", **servers).code == exits.NOT_FOUND


def test_a_file_that_is_not_there_is_named(servers: dict[str, str], tmp_path: Path) -> None:
    """
    Exit 2, and the file's name.
    """
    ended = omen("emit", tmp_path / "none.jsonl", **servers)
    assert ended.code == exits.USAGE
    assert "none.jsonl" in ended.err


def test_one_bad_signal_leaves_the_others_alone(servers: dict[str, str]) -> None:
    """
    The bad one is told by its number on stderr, the good ones are delivered, and the exit code is the bad one's.
    """
    said = line("OMEN-CLIGOOD0001") + line("OMEN-CLIEMPTY001", title="") + line("OMEN-CLIGOOD0002")
    ended = omen("emit", "-o", "json", said=said, **servers)
    assert ended.code == exits.USAGE
    assert [each["signal_id"] for each in json.loads(ended.out)] == ["OMEN-CLIGOOD0001", "OMEN-CLIGOOD0002"]
    assert "signal 2" in json.loads(ended.err)["error"]["message"]


def test_raw_events_become_signals_that_explain_themselves(servers: dict[str, str]) -> None:
    """
    A raw event is delivered with its derivation; its signal can be shown, verified and explained afterwards.
    """
    ended = omen("submit", "--explain", "-o", "json", said=raw_line(1), **servers)
    [row] = json.loads(ended.out)
    assert (ended.code, row["status"]) == (exits.OK, "DELIVERED")
    assert row["explanation"]["signal_id"] == row["signal_id"]
    shown = json.loads(omen("signal", row["signal_id"], "-o", "json", **servers).out)
    assert (shown["verified"], shown["minted"], shown["ack_id"]) == (True, True, row["ack_id"])
    explained = json.loads(omen("explain-signal", row["signal_id"], "-o", "json", **servers).out)
    assert explained["verdicts"] == row["explanation"]["verdicts"]
    assert row["signal_id"] in omen("explain-signal", row["signal_id"], **servers).out


def test_what_a_source_answered_may_be_filtered(servers: dict[str, str]) -> None:
    """
    An old earthquake is refused by the rules, which is no error: FILTERED, with what each rule said, and on record.
    """
    ended = omen("submit", "--source", "usgs", USGS / "quake.json", "--explain", "-o", "json", **servers)
    [row] = json.loads(ended.out)
    assert (ended.code, row["status"]) == (exits.OK, "FILTERED")
    assert [each["name"] for each in row["verdicts"] if each["status"] != "PASSED"]
    refused = json.loads(omen("rejected", "--rule", "freshness", "-o", "json", **servers).out)
    assert "us7000aaa1" in [each["event"]["source_event_id"] for each in refused]
    unknown = omen("submit", "--source", "nobody", USGS / "quake.json", **servers)
    assert unknown.code == exits.USAGE
    assert "usgs" in unknown.err


def test_validating_appends_nothing(servers: dict[str, str]) -> None:
    """
    With --validate the signal is told as it would be, and is not there afterwards.
    """
    [row] = json.loads(omen("submit", "--validate", "-o", "json", said=raw_line(2), **servers).out)
    assert row["status"] == "VALIDATED"
    gone = omen("signal", row["signal_id"], **servers)
    assert gone.code == exits.NOT_FOUND
    assert gone.err.startswith("omen: ")


def test_signals_are_listed_by_what_is_asked(servers: dict[str, str]) -> None:
    """
    Category, words of the title, times and the limit each leave out what they should, newest first.
    """
    said = "".join(
        line(f"OMEN-CLILIST000{number}", title=f"Zeppelin number{number}", category=category)
        for number, category in enumerate(("WEATHER", "SECURITY", "WEATHER"))
    )
    assert omen("emit", said=said, **servers).code == 0

    def listed(*asked: str, words: str = "zeppelin") -> list[str]:
        rows = json.loads(omen("signals", "--text", words, *asked, "-o", "json", **servers).out)
        return [each["signal_id"][-1] for each in rows]

    assert listed() == ["2", "1", "0"]
    assert listed("--category", "weather") == ["2", "0"]
    assert listed(words="zeppelin number1") == ["1"]
    assert listed("--limit", "2") == ["2", "1"]
    assert listed("--since", "2999-01-01T00:00:00") == []
    assert listed("--until", "2020-01-01T00:00:00Z") == []
    assert listed("--partition", "2020-01-01") == []
    assert omen("signals", "--category", "NONSENSE", **servers).code == exits.USAGE


def test_dead_letters_there_are_none(servers: dict[str, str]) -> None:
    """
    The list is empty, an id nobody knows is not found, and no clear choice is refused.
    """
    assert json.loads(omen("dead-letters", "list", "-o", "json", **servers).out) == []
    for verb in ("requeue", "purge"):
        unknown = omen("dead-letters", verb, "DL-0000000000009999", **servers)
        assert unknown.code == exits.NOT_FOUND, unknown
        assert "DL-0000000000009999" in unknown.err
        assert omen("dead-letters", verb, **servers).code == exits.USAGE


def test_operators_see_what_was_done(servers: dict[str, str]) -> None:
    """
    Counters, the hot path and the activity tell of a signal that was emitted just now, as JSON and as text.
    """
    before = json.loads(omen("stats", "-o", "json", **servers).out)
    assert omen("emit", said=line("OMEN-CLISTATS001"), **servers).code == 0
    after = json.loads(omen("stats", "-o", "json", **servers).out)
    assert after["signals_appended"] > before["signals_appended"]
    assert after["signals_by_status"]["DELIVERED"] > 0
    hot = json.loads(omen("hot-path", "-o", "json", **servers).out)
    assert (hot["riskcast"]["state"], hot["queue_length"]) == ("CLOSED", 0)
    rows = json.loads(omen("activity", "--limit", "3", "-o", "json", **servers).out)
    assert len(rows) == 3
    assert "OMEN-CLISTATS001" in omen("activity", "--limit", "100", **servers).out
    assert "signals appended" in omen("stats", **servers).out
    assert "riskcast" in omen("hot-path", **servers).out


@pytest.mark.parametrize("verb", [("emit", "--example"), ("signals",), ("tail",), ("stats",), ("dead-letters", "list")])
def test_nobody_there_is_exit_4(verb: Sequence[str]) -> None:
    """
    A server that cannot be reached is told in a sentence, without a traceback.
    """
    ended = omen(*verb, OMEN_ADDRESS="127.0.0.1:1", OMEN_TIMEOUT_S="5")
    assert ended.code == exits.UNREACHABLE, ended
    assert ended.err.startswith("omen: ")
    assert "Traceback" not in ended.err


async def test_a_callers_bad_signal_touches_nobody_else(servers: dict[str, str]) -> None:
    """
    Of callers that share a batch, only the one whose signal is bad is refused.
    """
    items = [ready(number) for number in range(50)]
    items[17].signal.title = ""
    async with OmenClient(servers["OMEN_ADDRESS"]) as client:
        found = await asyncio.gather(*(client.emit(each.signal) for each in items), return_exceptions=True)
    assert [at for at, each in enumerate(found) if isinstance(each, BaseException)] == [17]
    assert isinstance(found[17], InvalidRequest)


async def test_many_callers_make_few_calls() -> None:
    """
    A thousand signals emitted at once go out in a handful of calls, each caller with the outcome of its own.
    """
    sizes: list[int] = []

    async def emitted(request: Any, _context: Any) -> Any:
        sizes.append(len(request.signals))
        outcomes = [pb.EmitOutcome(result=pb.EmitResult(ack_id=each.signal.signal_id)) for each in request.signals]
        return pb.EmitSignalsResponse(results=outcomes)

    async with hosted(Scripted(emit=emitted)) as server, OmenClient(str(server.address)) as client:
        signals = [ready(number).signal for number in range(1000)]
        results = await asyncio.gather(*(client.emit(each) for each in signals))
    assert [each.ack_id for each in results] == [each.signal_id for each in signals]
    assert sum(sizes) == 1000
    assert len(sizes) <= 6
