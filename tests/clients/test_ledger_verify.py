import hashlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from omen_cli.ledger.prove import path_length
from omen_cli.progress import Bar
from tests.clients.command import omen
from tests.clients.ledgers import DAY, flip, frame_starts, hashes, tear
from tests.processes import tree_environment

NEXT_DAY = "2026-01-29"


def test_a_whole_ledger_verifies(ledger: Path) -> None:
    """
    Exit 0, every partition with its count and root, and what a pass does not prove.
    """
    ended = omen("ledger", "verify", ledger)
    assert ended.code == 0
    assert ended.err == ""
    assert "3 partitions, 65 records: intact" in ended.out
    assert "What a pass does not prove:" in ended.out
    told = json.loads(omen("ledger", "verify", ledger, "-o", "json").out)
    assert told["intact"] is True
    assert [(row["partition"], row["record_count"]) for row in told["partitions"]] == [
        (DAY, 50),
        (f"{DAY}-late", 5),
        (NEXT_DAY, 10),
    ]
    assert len(told["not_proven"]) == 3
    manifest = json.loads((ledger / DAY / "_manifest.json").read_text())
    assert told["partitions"][0]["merkle_root"] == manifest["merkle_root"]


def test_a_flipped_bit_in_a_length_is_named_exactly(ledger: Path) -> None:
    """
    Exit 1, and partition, sequence, file and byte offset on stdout, in every form.
    """
    segment = ledger / DAY / "signals-002.wal"
    start = frame_starts(segment)[5]
    flip(segment, start + 2, 1)
    text = omen("ledger", "verify", ledger, DAY)
    assert text.code == 1
    assert f"{DAY}/{segment.name} at byte {start}, sequence {(2 << 32) + 6}, index 26" in text.out
    for form in ("json", "jsonl"):
        ended = omen("ledger", "verify", ledger, DAY, "-o", form)
        assert ended.code == 1
        told = json.loads(ended.out)
        fault = (told["partitions"][0] if form == "json" else told)["faults"][0]
        assert fault["kind"] == "frame"
        assert (fault["partition"], fault["ledger_sequence"], fault["ledger_index"]) == (DAY, (2 << 32) + 6, 26)
        assert (fault["file"], fault["byte_offset"]) == (segment.name, start)


def test_a_damaged_compressed_segment_is_named(ledger: Path) -> None:
    """
    A flipped bit in a compressed file costs what it hides, and verify names the file.
    """
    assert omen("ledger", "lifecycle", ledger, "--apply", "--hot-days", "0", "--warm-days", "9999").code == 0
    assert omen("ledger", "verify", ledger).code == 0
    segment = ledger / DAY / "signals-002.wal.gz"
    flip(segment, segment.stat().st_size // 2)
    told = json.loads(omen("ledger", "verify", ledger, DAY, "-o", "jsonl").out)
    assert not told["intact"]
    assert any(fault["file"].startswith("signals-002.wal") for fault in told["faults"])
    records = [json.loads(line) for line in omen("ledger", "cat", ledger, DAY, "-o", "jsonl").out.splitlines()]
    assert {record["ledger_index"] for record in records if "gap" not in record} >= {*range(1, 21), *range(41, 51)}


def test_damaged_metadata_is_a_fault(ledger: Path) -> None:
    """
    A list of gaps that cannot be read is a fault at that file, and the other partitions are still verified.
    """
    (ledger / NEXT_DAY / "_gaps.json").write_text("{")
    ended = omen("ledger", "verify", ledger, "-o", "jsonl")
    assert ended.code == 1
    rows = {row["partition"]: row for row in map(json.loads, ended.out.splitlines())}
    assert rows[NEXT_DAY]["faults"][0]["file"] == "_gaps.json"
    assert rows[f"{DAY}-late"]["intact"]
    assert omen("ledger", "cat", ledger, NEXT_DAY).code == 1


def test_a_torn_tail_is_no_fault(ledger: Path) -> None:
    """
    What a crash left of a write that nobody was told about was never a record.
    """
    tear(ledger / NEXT_DAY / "signals-001.wal")
    ended = omen("ledger", "verify", ledger, NEXT_DAY, "-o", "jsonl")
    assert ended.code == 0
    assert json.loads(ended.out)["record_count"] == 9


def test_an_interrupted_verification_says_how_to_go_on(ledger: Path) -> None:
    """
    Ctrl-C ends with 130 and names the partition to go on from; what was verified before has been printed.
    """
    script = (
        "import sys\n"
        "from omen_cli.app import run\n"
        "from omen_server.ledger.offline import OfflineLedger\n"
        "verify = OfflineLedger.verify\n"
        "def slow(self, name):\n"
        "    if name.endswith('-late'):\n"
        "        print('in the middle', file=sys.stderr, flush=True)\n"
        "        sys.stdin.read()\n"
        "    yield from verify(self, name)\n"
        "OfflineLedger.verify = slow\n"
        f"sys.exit(run(['ledger', 'verify', {str(ledger)!r}]))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=tree_environment(),
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "in the middle\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.startswith(f"{DAY} ")
    assert f"omen ledger verify {ledger} --from {DAY}-late goes on" in err
    resumed = omen("ledger", "verify", ledger, "--from", f"{DAY}-late", "-o", "jsonl")
    assert [json.loads(line)["partition"] for line in resumed.out.splitlines()] == [f"{DAY}-late", NEXT_DAY]


def test_a_bar_is_drawn_on_a_terminal_only() -> None:
    """
    A stream that is no terminal gets nothing; a terminal gets a line that is wiped at the end.
    """

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            """
            Say that somebody is looking.
            """
            return True

    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        with Bar("verifying", stream) as bar:
            bar.move(1, 2, "bytes")
    assert plain.getvalue() == ""
    assert "50%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def root_of(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """
    Fold a path as RFC 6962, 2.1.1 defines it, top down: nothing of the project's own code.
    """
    if size == 1:
        assert not path
        return leaf
    left = 1 << (size - 1).bit_length() - 1
    if index < left:
        return hashlib.sha256(b"\x01" + root_of(leaf, index, left, path[:-1]) + path[-1]).digest()
    return hashlib.sha256(b"\x01" + path[-1] + root_of(leaf, index - left, size - left, path[:-1])).digest()


@pytest.mark.parametrize("number", [1, 20, 32, 33, 49, 50])
def test_a_stranger_can_check_a_proof(ledger: Path, number: int) -> None:
    """
    The payload and the path lead to the root in the manifest, by code that is written down here.
    """
    proof = json.loads(omen("ledger", "prove", ledger, f"OMEN-{number:09d}").out)
    leaf = hashlib.sha256(b"\x00" + bytes.fromhex(proof["payload"])).digest()
    path = [bytes.fromhex(node) for node in proof["audit_path"]]
    assert len(path) == path_length(proof["leaf_index"], proof["tree_size"])
    root = root_of(leaf, proof["leaf_index"], proof["tree_size"], path).hex()
    assert root == json.loads((ledger / DAY / "_manifest.json").read_text())["merkle_root"]
    assert json.loads(bytes.fromhex(proof["payload"]))["signal_id"] == f"OMEN-{number:09d}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("payload", "7b7d"),
        ("payload", "no hex"),
        ("signal_id", "OMEN-000000008"),
        ("leaf_index", 7),
        ("leaf_index", 50),
        ("tree_size", 7),
        ("tree_size", 0),
        ("audit_path", []),
        ("merkle_root", "00" * 32),
        ("audit_path", None),
    ],
)
def test_an_altered_proof_does_not_hold(ledger: Path, tmp_path: Path, name: str, value: object) -> None:
    """
    Whatever part of a proof is changed, the check says why it does not hold and exits 1.
    """
    proof = json.loads(omen("ledger", "prove", ledger, "OMEN-000000007").out)
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof))
    held = omen("ledger", "prove", "--check", file, "--root", proof["merkle_root"], "-o", "json")
    assert (held.code, json.loads(held.out)["holds"]) == (0, True)
    file.write_text(json.dumps(proof | {name: value}))
    broken = omen("ledger", "prove", "--check", file, "-o", "json")
    assert broken.code == 1
    assert json.loads(broken.out)["holds"] is False
    assert json.loads(broken.out)["why"]


def test_what_cannot_be_proven_or_checked_is_told(ledger: Path, tmp_path: Path) -> None:
    """
    Exit 3 for a signal that no sealed partition holds and a file that is not there, 2 for no proof, 1 for other roots.
    """
    assert omen("ledger", "prove", ledger, "OMEN-000000060").code == 3
    assert omen("ledger", "prove", "--check", tmp_path / "nothing").code == 3
    file = tmp_path / "proof.json"
    file.write_text("not JSON")
    assert omen("ledger", "prove", "--check", file).code == 2
    file.write_text("[]")
    assert omen("ledger", "prove", "--check", file).code == 1
    file.write_text(omen("ledger", "prove", ledger, "OMEN-000000007").out)
    assert omen("ledger", "prove", "--check", file, "--root", "ab" * 32).code == 1
    segment = ledger / DAY / "signals-003.wal"
    flip(segment, frame_starts(segment)[1] + 50)
    damaged = omen("ledger", "prove", ledger, "OMEN-000000007")
    assert (damaged.code, damaged.out) == (1, "")


def test_a_deleted_partition_verifies(ledger: Path) -> None:
    """
    What retention deleted behind its tombstone is no fault; its manifests are still held to the seal.
    """
    (ledger / DAY / "_reconciled.json").write_text('{"reconciled_through": 50}')
    days = ("--hot-days", "9999", "--warm-days", "9999", "--retention-days", "0")
    done = omen("ledger", "lifecycle", ledger, "--apply", *days, "-o", "jsonl")
    assert json.loads(done.out)["action"] == "DELETE"
    assert not list((ledger / DAY).glob("signals-*"))
    before = hashes(ledger)
    verified = omen("ledger", "verify", ledger)
    assert verified.code == 0, verified.out
    assert "DELETED" in omen("ledger", "partitions", ledger).out
    assert omen("ledger", "cat", ledger, DAY, "-o", "json").code == 0
    assert hashes(ledger) == before
    (ledger / DAY / "_manifest-001.json").unlink()
    assert omen("ledger", "verify", ledger).code == 1
