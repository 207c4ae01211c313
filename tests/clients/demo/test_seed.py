"""
The ten demonstration signals: three scenarios, the same bytes whenever, in a directory that nothing else is lost in.
"""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from omen.v1.signal_pb2 import CONFIDENCE_LEVEL_HIGH, CONFIDENCE_LEVEL_MEDIUM
from omen_cli import exits
from omen_cli.demo.place import MARKER, clear, made, remove
from omen_cli.demo.seed import Scenario, events_of, plan_of, written
from omen_cli.demo.ten import DAY, LATE, LATE_ID, Clock, entry, event, the_ten
from omen_cli.running.claim import claimed
from omen_server.ledger.directory import open_ledger
from omen_server.records import SIGNALS, entry_of
from tests.clients.command import omen

IDS = (
    "OMEN-DEMO001ABCD",
    "OMEN-DEMO002WXYZ",
    *(f"OMEN-DEMO00{number}" for number in range(3, 8)),
    "OMEN-DEMO008LATE",
    "OMEN-DEMO009",
    "OMEN-DEMO010TENTH",
)


def test_the_ten_are_those_of_the_script() -> None:
    """
    Ten ids, and the figures, titles and times of those that are given in full.
    """
    ten = the_ten()
    assert tuple(each.signal_id for each in ten) == IDS
    first, second, late = (event(ten[at]) for at in (0, 1, 7))
    assert (first.signal.title, first.signal.probability, first.signal.confidence_score) == (
        "Red Sea transit disruption",
        0.72,
        0.85,
    )
    assert first.signal.confidence_level == CONFIDENCE_LEVEL_HIGH
    assert (first.deterministic_trace_id, first.input_event_hash) == ("a1b2c3d4e5f6g7h8", "sha256:abc123")
    assert first.emitted_at.ToDatetime(UTC) == datetime(2026, 1, 28, 10, 0, 5, tzinfo=UTC)
    assert (second.signal.title, second.signal.probability) == ("Suez canal delay probability", 0.55)
    assert second.signal.confidence_level == late.signal.confidence_level == CONFIDENCE_LEVEL_MEDIUM
    assert late.signal.title == "Late report: port closure"
    assert late.observed_at.ToDatetime(UTC) == datetime(2026, 1, 27, 23, 50, tzinfo=UTC)


@pytest.mark.parametrize("scenario", ["ingest", "reconcile", "late"])
async def test_a_scenario_is_the_same_bytes_whenever_it_is_written(scenario: Scenario, tmp_path: Path) -> None:
    """
    The clock stands where the scenario says, so segments and manifests are equal to the byte.
    """
    for name in ("one", "other"):
        await written(tmp_path / name, plan_of(scenario))
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").glob("20*/*") if path.is_file()]
    assert Path(DAY, "signals-001.wal") in files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes(), file


async def test_reconcile_is_ten_in_a_sealed_day(tmp_path: Path) -> None:
    """
    All ten lie in the main partition in their order, and the manifest has the figures of the script.
    """
    ledger = await written(tmp_path, plan_of("reconcile"))
    assert tuple(each.signal_id for each in events_of(ledger)) == IDS
    assert plan_of("reconcile").missing == (IDS[4], IDS[8])
    assert ledger.names() == [DAY]
    manifest = json.loads((tmp_path / DAY / "_manifest.json").read_bytes())
    shape = {
        "schema_version": "1.0.0",
        "partition_date": DAY,
        "sealed_at": "2026-01-29T04:00:00Z",
        "total_records": 10,
        "highwater_sequence": 10,
        "manifest_revision": 1,
        "is_late_partition": False,
    }
    assert {name: manifest[name] for name in shape} == shape
    (segment,) = manifest["segments"]
    assert (segment["file"], segment["record_count"]) == ("signals-001.wal", 10)
    assert segment["size_bytes"] == (tmp_path / DAY / "signals-001.wal").stat().st_size
    assert segment["checksum"].startswith("crc32:")


async def test_late_is_where_the_writer_puts_it(tmp_path: Path) -> None:
    """
    Behind the seal the eighth goes to the late partition by the writer's own rule, and the other nine stay.
    """
    ledger = await written(tmp_path, plan_of("late"))
    assert {name: ledger.partition(name).total_records for name in ledger.names()} == {DAY: 9, LATE: 1}
    found = events_of(ledger)[-1]
    assert (found.signal_id, found.ledger_partition, found.ledger_sequence) == (LATE_ID, LATE, 1 << 32 | 1)
    assert found.ledger_written_at.ToDatetime(UTC) == datetime(2026, 1, 29, 6, 30, tzinfo=UTC)


async def test_emitted_the_next_day_it_is_of_the_next_day(tmp_path: Path) -> None:
    """
    Told to have been emitted at 02:00 of the 29th, as the script has it, the eighth belongs to the 29th.
    """
    late = event(the_ten()[7])
    late.emitted_at.FromDatetime(datetime(2026, 1, 29, 2, tzinfo=UTC))
    async with open_ledger(tmp_path, SIGNALS, now=Clock(datetime(2026, 1, 29, 2, tzinfo=UTC))) as ledger:
        (position,) = await ledger.append([entry_of(late, "json")])
    assert position.partition == "2026-01-29"


def test_seeded_and_reset(tmp_path: Path) -> None:
    """
    `demo seed` brings RiskCast twelve deliveries, two of them ALREADY_EXISTS; `demo reset` makes the same again.
    """
    place = tmp_path / "ten"
    ended = omen("demo", "seed", "--scenario", "ingest", "--data-dir", place, "-o", "json")
    assert (ended.code, ended.err) == (0, ""), ended.err
    row = json.loads(ended.out)
    assert (row["accepted"], row["already_exists"], row["partitions"], row["sealed"]) == (10, 2, {DAY: 10}, [])
    assert tuple(row["signal_ids"]) == IDS
    segment = place / "ledger" / DAY / "signals-001.wal"
    before = segment.read_bytes()
    segment.unlink()
    (place / "reconcile.db").touch()
    ended = omen("demo", "reset", "--data-dir", place, "-o", "json")
    assert json.loads(ended.out) == row
    assert segment.read_bytes() == before
    assert not (place / "reconcile.db").exists()


def test_into_a_running_omen(servers: dict[str, str]) -> None:
    """
    Emitted to a server, the ten are delivered and the two that come again are cached; eight of ten cannot be had there.
    """
    ended = omen("demo", "seed", "--into", "--scenario", "ingest", "-o", "json", **servers)
    assert ended.code == 0, ended.err
    row = json.loads(ended.out)
    assert tuple(row["signal_ids"]) == (*IDS, *IDS[:2])
    assert row["cached"] == 2
    assert set(row["statuses"]) == {"DELIVERED"}
    ended = omen("demo", "seed", "--into", **servers)
    assert ended.code == exits.USAGE
    assert "none would be missing" in ended.err


@pytest.mark.parametrize("verb", ["seed", "reset"])
def test_a_directory_of_somebody_else_is_left_alone(verb: str, tmp_path: Path) -> None:
    """
    Whatever has no marker, or one that was copied there, is refused with exit 7, and nothing of it is touched.
    """
    original = made(str(tmp_path / "original"), {"kind": "seed", "scenario": "late"})
    copied, plain = tmp_path / "copied", tmp_path / "plain"
    shutil.copytree(original, copied)
    plain.mkdir()
    for place in (copied, plain):
        (place / "thesis.txt").write_text("years of work")
        ended = omen("demo", verb, "--data-dir", place)
        assert (ended.code, ended.out) == (exits.CONFLICT, "")
        assert f"{place} was not made by omen demo" in ended.err
        assert (place / "thesis.txt").read_text() == "years of work"


async def test_a_directory_that_servers_run_on_is_left_alone(tmp_path: Path) -> None:
    """
    While `omen up` holds it, or any process writes its ledger, nothing is removed.
    """
    place = made(str(tmp_path / "demo"), {"kind": "seed", "scenario": "late"})
    with claimed(place), pytest.raises(exits.Stopped):
        clear(place)
    async with open_ledger(place / "ledger", SIGNALS, now=Clock()) as ledger:
        await ledger.append([entry(the_ten()[0])])
        with pytest.raises(exits.Stopped) as caught:
            clear(place)
        assert caught.value.code == exits.CONFLICT
    assert (place / MARKER).exists()
    assert (place / "ledger" / DAY).is_dir()
    remove(place)
    assert not place.exists()


def test_a_directory_that_was_there_before_stays(tmp_path: Path) -> None:
    """
    An empty directory may be used, and is empty again afterwards, however often it was used.
    """
    for kept in (True, False):
        place = made(str(tmp_path), {"kind": "run", "seed": 1})
        (place / "omen.log").touch()
        if not kept:
            remove(place)
    assert list(tmp_path.iterdir()) == []


def test_a_run_and_a_seed_do_not_share_a_directory(tmp_path: Path) -> None:
    """
    `omen demo` does not empty what `omen demo seed` made.
    """
    place = made(str(tmp_path / "ten"), {"kind": "seed", "scenario": "late"})
    with pytest.raises(exits.Stopped) as caught:
        made(str(place), {"kind": "run", "seed": 1})
    assert caught.value.code == exits.CONFLICT
    assert [path.name for path in place.iterdir()] == [MARKER]


def test_a_file_or_a_link_is_no_directory(tmp_path: Path) -> None:
    """
    A demonstration works in a directory of its own, not behind a link to another.
    """
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        with pytest.raises(exits.Stopped):
            made(str(tmp_path / name), {"kind": "seed"})
    assert list((tmp_path / "real").iterdir()) == []
