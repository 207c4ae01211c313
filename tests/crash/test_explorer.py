"""
The crash campaign, and the bugs that score it.
"""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from omen_server.ledger import seal
from omen_server.ledger.entry import Entry
from omen_server.ledger.format import HEADER_BYTES
from omen_server.ledger.journal import Journal
from omen_server.ledger.recovery import recover
from omen_server.ledger.settings import LedgerSettings
from tests.crash.explorer import START, Explorer, Remembered
from tests.crash.images import kill
from tests.crash.mutants import MUTANTS, Mutant, alive
from tests.crash.promises import ROOT, Promises, Violation, promise_recovered
from tests.crash.records import NOTES, Note
from tests.crash.simulated import Image, SimulatedDisk
from tests.omen_server.ledger import test_faults, test_flips, test_format, test_lifecycle, test_recovery, test_seal
from tests.omen_server.ledger.conftest import Clock, opener

TREE = Path(__file__).parents[2]
PROCESSES = 2
# A mutant that survives this many states counts as alive.
STATES_PER_MUTANT = 20_000


def explore(states: int, seed: int, place: Path) -> int:
    """
    Explore in two processes and return how many distinct states both have checked.
    """
    environment = {**os.environ, "PYTHONPATH": f"{TREE}:{TREE}/proto:{TREE}/clients"}
    share = states // PROCESSES + states // 50
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.crash.explorer",
                str(share),
                "--seed",
                str(seed + at * 1000000),
                "--digests",
                str(place / f"digests-{at}"),
            ],
            cwd=TREE,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for at in range(PROCESSES)
    ]
    said = [process.communicate()[0] for process in running]
    sys.stdout.writelines(said)
    assert [process.returncode for process in running] == [0] * PROCESSES, "\n".join(said)
    digests = [(place / f"digests-{at}").read_bytes() for at in range(PROCESSES)]
    return len({data[at : at + 12] for data in digests for at in range(0, len(data), 12)})


@pytest.mark.timeout(600)
def test_a_hundred_thousand_states(tmp_path: Path) -> None:
    """
    After any crash in any of 100,000 distinct states recovery keeps every promise.
    """
    assert explore(100_000, 1, tmp_path) >= 100_000


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_a_million_states(tmp_path: Path) -> None:
    """
    The same in a million states, with other histories.
    """
    assert explore(1_000_000, 500_000, tmp_path) >= 1_000_000


def test_replay_visits_the_one_state() -> None:
    """
    A place that a violation names is visited again alone.
    """
    explorer = Explorer(1 << 30, only=(3, 20, 1))
    explorer.explore(iter((3,)))
    assert len(explorer.seen) == 1


def test_histories_are_the_same_again() -> None:
    """
    A seed decides everything: two runs visit the same states.
    """
    first, second = Explorer(400), Explorer(400)
    first.explore(iter(range(40, 100)))
    second.explore(iter(range(40, 100)))
    assert first.seen == second.seen


@pytest.fixture
def _quiet() -> Iterator[None]:
    """
    What broken code logs is of no interest.
    """
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


LIMITS = LedgerSettings(ballast_bytes=0, resume_free_bytes=0)
LATE = f"{ROOT}/2026-01-30-late"


def open_again(text: str = "") -> tuple[Image, Promises]:
    """
    Return a late partition of two records, sealed, and two more since, and its seals; *text* is the first ones'.
    """
    disk = SimulatedDisk.holding({ROOT: None})
    journal = Journal(disk, ROOT, LIMITS, lambda: START, recover(disk, ROOT, LIMITS, NOTES))
    promises = Promises()
    for sealed in (True, True, False):
        name = journal.route(START, set())
        for each in (text, ""):
            journal.commit(name, [Entry(START, Remembered(Note("OMEN-1", each), {}, promises.tried))], [])
        if sealed:
            seal.seal(disk, ROOT, name, journal.freeze(name), codec=NOTES, now=lambda: START)
            promises.sealed.add(name)
    return kill(disk.state), promises


def hold_damaged(image: Image, path: str, promises: Promises) -> bool:
    """
    Change one bit of a file's last payload, recover, and hold it against the promises.
    """
    whole = image[path] or b""
    disk = SimulatedDisk.holding({**image, path: whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]})
    return promise_recovered(disk, recover(disk, ROOT, LIMITS, NOTES), promises.copy())


@pytest.mark.usefixtures("_quiet")
def test_gap_is_excused_where_no_one_could_tell() -> None:
    """
    A gap is excused behind a seal, too, where the sector ends inside of a length; not elsewhere, nor in sealed bytes.
    """
    image, promises = open_again()
    with pytest.raises(Violation, match="no corruption"):
        hold_damaged(image, f"{LATE}/signals-002.wal", promises)
    second = (image[f"{LATE}/signals-002.wal"] or b"").index(b"{", 9) - HEADER_BYTES
    image, promises = open_again("x" * (510 - second))
    assert hold_damaged(image, f"{LATE}/signals-002.wal", promises)
    with pytest.raises(Violation, match="does not verify"):
        hold_damaged(image, f"{LATE}/signals-001.wal", promises)


Story = Callable[..., Coroutine[Any, Any, None]]


def run(story: Story, place: Path, *more: object) -> None:
    """
    Run an asynchronous test by hand, with a ledger of its own.
    """
    clock = Clock()
    arguments = {"opened": opener(place, clock), "place": place, "clock": clock}
    names = story.__code__.co_varnames[: story.__code__.co_argcount]
    asyncio.run(story(*(arguments[name] for name in names if name in arguments), *more))


def damage_table(place: Path) -> None:
    """
    Run every row of the damage table.
    """
    for at, row in enumerate(test_recovery.DAMAGE):
        run(test_recovery.test_damage_table, place / str(at), *row[1:])


def fault_table(_: Path) -> None:
    """
    Run a disk that is full for a moment.
    """
    test_faults.test_fault_at_every_call("ENOSPC", forever=False)


KILLERS: dict[str, Callable[[Path], None]] = {
    "test_flip_in_an_open_partition_costs_one_named_record": lambda _: (
        test_flips.test_flip_in_an_open_partition_costs_one_named_record("batches and a roll")
    ),
    "test_zero_filled_space_is_no_record": lambda _: test_format.test_zero_filled_space_is_no_record(),
    "test_last_bytes_that_never_arrived_are_a_tear": lambda _: (
        test_format.test_last_bytes_that_never_arrived_are_a_tear(2)
    ),
    "test_last_byte_of_a_sector_that_arrived_is_no_tear": lambda _: (
        test_format.test_last_byte_of_a_sector_that_arrived_is_no_tear()
    ),
    "test_damage_table": damage_table,
    "test_fault_at_every_call": fault_table,
    "test_two_torn_tails_are_corruption": lambda place: run(test_recovery.test_two_torn_tails_are_corruption, place),
    "test_tail_that_a_later_record_proves_is_not_cut": lambda place: run(
        test_recovery.test_tail_that_a_later_record_proves_is_not_cut, place
    ),
    "test_tail_that_a_later_seal_proves_is_not_cut": lambda place: run(
        test_recovery.test_tail_that_a_later_seal_proves_is_not_cut, place
    ),
    "test_tear_behind_a_deleted_day_is_a_tear": lambda place: run(
        test_lifecycle.test_tear_behind_a_deleted_day_is_a_tear, place
    ),
    "test_positions_go_on_behind_a_deleted_late_partition": lambda place: run(
        test_lifecycle.test_positions_go_on_behind_a_deleted_late_partition, place
    ),
    "test_damage_at_the_end_skips_positions_once": lambda place: run(
        test_recovery.test_damage_at_the_end_skips_positions_once, place
    ),
    "test_torn_tail_then_three_more": lambda place: run(
        test_recovery.test_torn_tail_then_three_more, place, "the header"
    ),
    "test_manifest_without_its_seal_is_nobodys_word": lambda place: run(
        test_seal.test_manifest_without_its_seal_is_nobodys_word, place
    ),
    "test_sealed_late_partition_takes_more_in_a_new_revision": lambda place: run(
        test_seal.test_sealed_late_partition_takes_more_in_a_new_revision, place
    ),
    "test_roll_that_failed_is_sealed_with_its_day": lambda place: run(
        test_seal.test_roll_that_failed_is_sealed_with_its_day, place
    ),
    "test_readers_stop_at_the_watermark": lambda place: run(test_seal.test_readers_stop_at_the_watermark, place),
}


# Killers that were seen to pass without a mutant, so that it is the mutant they notice.
SOUND: set[str] = set()


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_mutant_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    """
    A seeded bug is noticed by the explorer, or by the test that is there for it.
    """
    if mutant.killer == "explorer":
        with alive(mutant), pytest.raises(Violation):
            Explorer(STATES_PER_MUTANT).explore(iter(range(1, 1_000_000)))
    else:
        if mutant.killer not in SOUND:
            KILLERS[mutant.killer](tmp_path / "sound")
            SOUND.add(mutant.killer)
        with alive(mutant), pytest.raises(Exception, match=r"[\s\S]*"):
            KILLERS[mutant.killer](tmp_path / "mutant")


def test_there_are_mutants_enough() -> None:
    """
    The score counts: at least 25 bugs, no two alike, most of them for the explorer.
    """
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
    assert sum(mutant.killer == "explorer" for mutant in MUTANTS) >= 20
