import json
import subprocess
from pathlib import Path

from omen_cli import exits
from tests.clients.command import Ended, inside
from tests.processes import tree_environment


def run(servers: dict[str, str], *line: str) -> Ended:
    """
    Run a verb for JSON against the shared servers.
    """
    return inside(*line, "-o", "json", **servers)


def test_of_many_at_once_one_is_stored(servers: dict[str, str], tmp_path: Path) -> None:
    """
    Twenty sends of one signal at once are one OK and nineteen ALREADY_EXISTS, all with the ack that is stored.
    """
    file = tmp_path / "one.jsonl"
    file.write_text('{"signal_id": "OMEN-TWENTY000001", "title": "Suez canal delay", "probability": 0.5}\n')
    ended = run(servers, "ingest", str(file), "--times", "20")
    rows = json.loads(ended.out)
    assert ended.code == 0, ended
    assert sorted(row["status"] for row in rows) == ["ALREADY_EXISTS"] * 19 + ["OK"]
    stored = json.loads(run(servers, "processed", "OMEN-TWENTY000001").out)
    assert {row["ack_id"] for row in rows} == {stored["ack_id"]}
    assert (stored["origin"], stored["event"]["signal"]["title"]) == ("DIRECT", "Suez canal delay")
    listed = json.loads(run(servers, "processed", "--origin", "direct", "--limit", "500").out)
    assert "OMEN-TWENTY000001" in {row["signal_id"] for row in listed}
    assert {row["origin"] for row in listed} == {"DIRECT"}


def test_other_content_under_a_known_id_is_a_conflict(servers: dict[str, str], tmp_path: Path) -> None:
    """
    Exit 7, the row says so, and a signal that is refused leaves the others alone.
    """
    file = tmp_path / "some.jsonl"
    lines = [{"signal_id": "OMEN-OTHER0000001", "title": title, "probability": 0.5} for title in ("one", "other")]
    file.write_text("\n".join(map(json.dumps, lines)))
    ended = run(servers, "ingest", str(file))
    again = run(servers, "ingest", str(file))
    assert ended.code == again.code == exits.CONFLICT
    assert sorted(row["content_conflict"] for row in json.loads(again.out)) == [False, True]
    file.write_text(
        '{"signal_id": "x", "title": ""}\n{"signal_id": "OMEN-GOOD00000001", "title": "g", "probability": 1}'
    )
    ended = run(servers, "ingest", str(file))
    assert ended.code == exits.USAGE
    assert [row["signal_id"] for row in json.loads(ended.out)] == ["OMEN-GOOD00000001"]
    assert json.loads(ended.err)["error"]["message"].startswith("signal 1: ")
    assert run(servers, "ingest", "--example", "--times", "0").code == exits.USAGE


def test_partitions_are_listed_and_shown(servers: dict[str, str]) -> None:
    """
    Both tell the same count, and the one how far it is durable and settled.
    """
    listed = json.loads(run(servers, "partitions", "open").out)
    assert listed
    assert json.loads(run(servers, "partitions", "--limit", "0").out) == []
    shown = json.loads(run(servers, "partition", listed[0]["partition"]).out)
    assert shown["durable_highwater"] >= shown["total_records"] >= listed[0]["total_records"] >= 1
    text = inside("partition", listed[0]["partition"], **servers)
    assert "signals-001.wal" in text.out


def test_settings_in_force_have_their_sources(servers: dict[str, str]) -> None:
    """
    A running server tells each value and where it was set.
    """
    rows = {row["name"]: row for row in json.loads(run(servers, "config", "show", "riskcast").out)}
    assert rows["listen"] | {"set_by": "--listen"} == rows["listen"]
    assert rows["rate_limit_burst"]["source"] == "default"
    text = inside("config", "show", "riskcast", "--sources", **servers)
    assert "SET BY" in text.out
    assert "SET BY" not in inside("config", "show", "riskcast", **servers).out


def test_settings_are_checked_before_a_server_starts(tmp_path: Path) -> None:
    """
    Exit 2 with the server's own sentence for what it would refuse; secrets are starred in what it would take.
    """
    file = tmp_path / "omen.toml"
    file.write_text('[riskcast]\nstore = "postgresql://me:s3cret@h/d"\n[omen]\nlisten = "0.0.0.0:1"\n')
    ended = inside("config", "check", "omen", "riskcast", "--config", file, "-o", "json")
    rows = {row["server"]: row for row in json.loads(ended.out)}
    assert ended.code == exits.USAGE
    assert (rows["omen"]["accepted"], rows["riskcast"]["accepted"]) == (False, True)
    assert rows["riskcast"]["not_default"] == ["store=postgresql://me:***@h/d"]
    assert "0.0.0.0:1 is not loopback" in json.loads(ended.err)["error"]["message"]
    assert "s3cret" not in ended.out + ended.err


def test_the_contract_as_a_file_serves_other_tools(servers: dict[str, str], tmp_path: Path) -> None:
    """
    Grpcurl calls with it alone, comments included, and buf builds from it.
    """
    file = tmp_path / "omen.binpb"
    told = json.loads(run(servers, "proto", "export", str(file)).out)
    assert told["bytes"] == file.stat().st_size
    assert len(told["services"]) == 7

    def tool(*line: str) -> str:
        return subprocess.run(line, capture_output=True, text=True, check=True, env=tree_environment()).stdout

    assert tool("grpcurl", "-protoset", str(file), "list").split() == sorted(told["services"])
    assert "// Store" in tool("grpcurl", "-protoset", str(file), "describe", "riskcast.v1.IngestService")
    line = ("grpcurl", "-plaintext", "-protoset", str(file), servers["RISKCAST_ADDRESS"])
    assert "storeEpoch" in tool(*line, "riskcast.v1.InventoryService/GetIngestStats")
    tool("buf", "build", str(file), "-o", str(tmp_path / "again.binpb"))
    refused = run(servers, "proto", "export", str(tmp_path))
    assert (refused.code, refused.out) == (exits.USAGE, "")


def test_completion_starts_no_python() -> None:
    """
    The scripts know all verbs, flags and choices themselves: bash completes with nothing on its path.
    """
    for shell in ("bash", "zsh", "fish"):
        script = inside("completion", shell).out
        assert all(word in script for word in ("explain-signal", "requeue", "from-beginning"))
        assert "python" not in script.lower()
    asked = "\n".join(
        f'COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=(); _omen; echo "${{COMPREPLY[*]}}"'
        for words in ("omen expl", "omen ledger ver", "omen stats --tim", "omen tail -o js")
    )
    script = inside("completion", "bash").out
    done = subprocess.run(
        ["/bin/bash", "--norc"],
        input=f"{script}\n{asked}",
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": ""},
    )
    assert done.stdout.splitlines() == ["explain-signal explain", "verify", "--timeout-s", "json jsonl"]
