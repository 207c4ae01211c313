import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from omen_cli.ledger.dump import header_lines, row_of
from omen_server.ledger.frames import RawFrame
from omen_server.ledger.lock import is_locked
from tests.clients.command import OMEN, omen
from tests.clients.ledgers import DAY, flip, frame_starts, hashes, tear, write_small
from tests.processes import tree_environment

NEXT_DAY = "2026-01-29"


def lines(*arguments: str | Path) -> list[dict[str, object]]:
    """
    Return what a verb prints with -o jsonl.
    """
    ended = omen(*arguments, "-o", "jsonl")
    assert ended.code == 0, ended
    return [json.loads(line) for line in ended.out.splitlines()]


def test_cat_prints_a_line_a_record(ledger: Path) -> None:
    """
    The signal event's keys are at the top level, integers are numbers, and what is proven does not say otherwise.
    """
    records = lines("ledger", "cat", ledger, DAY)
    assert [record["ledger_index"] for record in records] == list(range(1, 51))
    assert [record["signal_id"] for record in records] == [f"OMEN-{number:09d}" for number in range(1, 51)]
    assert records[0]["ledger_sequence"] == 4294967297
    assert records[20]["ledger_sequence"] == (2 << 32) + 1
    assert not any("unproven" in record for record in records)


async def test_cat_prints_protobuf_records_in_the_same_words(ledger: Path, tmp_path: Path) -> None:
    """
    A ledger of protobuf payloads reads like one of JSON payloads.
    """
    await write_small(tmp_path / "protobuf", "protobuf")
    there, here = lines("ledger", "cat", ledger, DAY), lines("ledger", "cat", tmp_path / "protobuf", DAY)
    assert here == there


def test_cat_marks_what_nothing_proves_durable(ledger: Path) -> None:
    """
    The last record of an open partition is unproven, because no later one states that it was synced.
    """
    records = lines("ledger", "cat", ledger, NEXT_DAY)
    assert [record.get("unproven", False) for record in records] == [False] * 9 + [True]
    assert "(unproven)" in omen("ledger", "cat", ledger, NEXT_DAY).out.splitlines()[-1]


def test_cat_begins_behind_a_position_and_goes_on_with_the_late_ones(ledger: Path) -> None:
    """
    --after-index skips, --late appends the late partition of the day.
    """
    records = lines("ledger", "cat", ledger, DAY, "--after-index", "48", "--late")
    assert [(record["ledger_partition"], record["ledger_index"]) for record in records] == [
        (DAY, 49),
        (DAY, 50),
        *((f"{DAY}-late", index) for index in range(1, 6)),
    ]


def test_cat_as_json_is_one_array(ledger: Path) -> None:
    """
    -o json has the records of -o jsonl; where there is none the array is empty.
    """
    assert json.loads(omen("ledger", "cat", ledger, DAY, "-o", "json").out) == lines("ledger", "cat", ledger, DAY)
    assert json.loads(omen("ledger", "cat", ledger, DAY, "--after-index", "50", "-o", "json").out) == []


def test_one_flipped_bit_in_a_length_costs_one_record(ledger: Path) -> None:
    """
    The record is a gap with its exact place and no signal_id; all others are printed.
    """
    segment = ledger / DAY / "signals-002.wal"
    start = frame_starts(segment)[5]
    flip(segment, start + 2, 1)
    items = lines("ledger", "cat", ledger, DAY)
    [at] = [at for at, item in enumerate(items) if "gap" in item]
    gap = items.pop(at)["gap"]
    assert isinstance(gap, dict)
    assert (gap["first_index"], gap["last_index"], gap["file"], gap["byte_offset"]) == (26, 26, segment.name, start)
    assert [item["ledger_index"] for item in items] == [*range(1, 26), *range(27, 51)]
    assert f"-- gap: positions 26 to 26, {segment.name} at byte {start}" in omen("ledger", "cat", ledger, DAY).out


def test_a_reader_of_cat_that_has_had_enough_is_no_error(ledger: Path) -> None:
    """
    `omen ledger cat … | head -1` ends quietly.
    """
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{OMEN} ledger cat {ledger} {DAY} | head -1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=tree_environment(),
    )
    assert "OMEN-000000001" in done.stdout
    assert done.stderr == ""


def test_dump_decodes_the_header_of_each_frame(ledger: Path) -> None:
    """
    Length and CRC-32 stand beside their four bytes each, and the payload's bytes follow in hex.
    """
    [frame] = lines("ledger", "dump", ledger, DAY, "--max-frames", "1")
    data = (ledger / DAY / "signals-001.wal").read_bytes()
    assert frame["header"] == data[:8].hex(" ")
    assert frame["length"] == int.from_bytes(data[:4], "big")
    assert frame["crc32"] == f"0x{data[4:8].hex()}"
    assert frame["checksum_matches"] is True
    assert frame["ledger_sequence"] == 4294967297
    assert bytes.fromhex(str(frame["payload"])) == data[8 : 8 + frame["length"]]
    text = omen("ledger", "dump", ledger, DAY, "--max-frames", "1").out.splitlines()
    assert text[0] == f"{DAY}/signals-001.wal  byte 0  sequence 4294967297 (1/1)  index 1"
    assert text[1] == f"00000000  {data[:4].hex(' ')}  length  {frame['length']}, big-endian"
    assert text[2] == f"00000004  {data[4:8].hex(' ')}  CRC-32  0x{data[4:8].hex()}, fits the payload"
    assert text[3] == f"00000008  {data[8:16].hex(' ')}  {data[16:24].hex(' ')}  |{data[8:24].decode()}|"


def test_dump_reads_the_golden_header() -> None:
    """
    The header 00 00 01 f4 1a 2b 3c 4d states 500 bytes with the CRC-32 0x1a2b3c4d.
    """
    frame = RawFrame("signals-001.wal", 0, bytes.fromhex("000001f41a2b3c4d"), b"x" * 500, True, 4294967297, 1)
    row = row_of(frame)
    assert (row["length"], row["crc32"]) == (500, "0x1a2b3c4d")
    assert list(header_lines(frame, row)) == [
        "00000000  00 00 01 f4  length  500, big-endian",
        "00000004  1a 2b 3c 4d  CRC-32  0x1a2b3c4d, fits the payload",
    ]


def test_dump_shows_damage(ledger: Path) -> None:
    """
    A frame whose payload was altered is shown with the checksum it has and the one it should have.
    """
    segment = ledger / DAY / "signals-001.wal"
    flip(segment, 100)
    [frame] = lines("ledger", "dump", ledger, DAY, "--max-frames", "1")
    assert frame["checksum_matches"] is False
    assert "DAMAGED: the bytes shown have 0x" in omen("ledger", "dump", ledger, DAY, "--max-frames", "1").out


def test_dump_shows_a_header_that_is_cut_short(ledger: Path) -> None:
    """
    Four bytes at the end of a file are shown, and state nothing.
    """
    segment = ledger / NEXT_DAY / "signals-001.wal"
    with segment.open("ab") as file:
        file.write(bytes(4))
    [frame] = lines("ledger", "dump", ledger, NEXT_DAY, "--after-index", "10")
    assert frame["header"] == "00 00 00 00"
    assert frame["length"] is None
    assert "a header that is cut short" in omen("ledger", "dump", ledger, NEXT_DAY, "--after-index", "10").out


def test_partitions_and_show_need_no_server(ledger: Path) -> None:
    """
    The list counts every partition, the page of one has its files and its manifest as it lies on disk.
    """
    rows = lines("ledger", "partitions", ledger)
    assert [(row["partition"], row["state"], row["total_records"]) for row in rows] == [
        (DAY, "SEALED", 50),
        (f"{DAY}-late", "OPEN", 5),
        (NEXT_DAY, "OPEN", 10),
    ]
    [page] = lines("ledger", "show", ledger, DAY)
    assert page["manifest_json"] == (ledger / DAY / "_manifest.json").read_text()
    assert "signals-003.wal" in omen("ledger", "show", ledger, DAY).out


@pytest.mark.parametrize("state", ["whole", "torn", "damaged", "half-sealed"])
def test_reading_tools_change_nothing(ledger: Path, state: str) -> None:
    """
    In any state of the directory every file is the same before and after, dry runs included.
    """
    segment = ledger / NEXT_DAY / "signals-001.wal"
    if state == "torn":
        tear(segment)
    elif state == "damaged":
        flip(segment, frame_starts(segment)[3] + 2)
    elif state == "half-sealed":
        (ledger / DAY / "_SEALED").unlink()
    before = hashes(ledger)
    tools: tuple[tuple[str | Path, ...], ...] = (
        ("verify", ledger),
        ("cat", ledger, NEXT_DAY),
        ("dump", ledger, NEXT_DAY),
        ("prove", ledger, "OMEN-000000007"),
        ("partitions", ledger),
        ("show", ledger, NEXT_DAY),
        ("repair", ledger),
        ("lifecycle", ledger, "--hot-days", "0"),
    )
    for tool in tools:
        ended = omen("ledger", *tool)
        assert ended.code in {0, 1, 3}, ended
        assert "bug of omen" not in ended.err
    assert hashes(ledger) == before


def test_two_who_ask_at_once_do_not_take_each_other_for_the_writer(ledger: Path) -> None:
    """
    A reader that is asking whether somebody writes does not make another one forgive damage at the end.
    """
    fd = os.open(ledger / "_LOCK", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        assert not is_locked(str(ledger))
    finally:
        os.close(fd)
    (ledger / "_LOCK").unlink()
    assert not is_locked(str(ledger))
    assert not (ledger / "_LOCK").exists()


def test_the_directory_may_be_the_data_directory(ledger: Path) -> None:
    """
    `omen ledger … DIR` takes the ledger's directory and the one around it.
    """
    assert lines("ledger", "partitions", ledger) == lines("ledger", "partitions", ledger.parent)


def test_what_is_no_ledger_is_told_apart(ledger: Path, tmp_path: Path) -> None:
    """
    Exit 3 for a path or partition that is not there, 2 for a directory of other things, 1 for a spoiled identity.
    """
    assert omen("ledger", "verify", tmp_path / "nowhere").code == 3
    assert omen("ledger", "cat", ledger, "2030-01-01").code == 3
    assert omen("ledger", "cat", ledger, "../../etc").code == 3
    other = omen("ledger", "verify", tmp_path, "-o", "json")
    assert other.code == 2
    assert json.loads(other.err)["error"]["reason"] == "NOT_A_LEDGER"
    (ledger / "_LEDGER.json").write_text("{")
    assert omen("ledger", "verify", ledger).code == 1
