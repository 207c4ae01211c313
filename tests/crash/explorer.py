"""
Runs small histories of a ledger on the simulated disk, cuts the power everywhere, recovers with the real code, checks.

A *history* is a seeded sequence of appends, rolls, seals, late arrivals, restarts and disk errors. Before each change
of the disk a crash may happen, and each crash leaves many states. Every state is recovered and held against what was
promised: `promised` is what the journal called durable, stamped byte for byte.

    python -m tests.crash.explorer 1000            explore until 1,000 distinct states are checked
    python -m tests.crash.explorer --replay 7:41:3 look at one state: history, crash, state
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from random import Random

from omen_rpc.position import Position
from omen_server.ledger import lifecycle, seal
from omen_server.ledger.durable import replace_file
from omen_server.ledger.entry import Entry
from omen_server.ledger.errors import LedgerError, LedgerWriteError
from omen_server.ledger.journal import Journal
from omen_server.ledger.names import RECONCILED
from omen_server.ledger.partition import partition_names, read_partition_files
from omen_server.ledger.recovery import recover
from omen_server.ledger.settings import LedgerSettings
from tests.crash.images import kill, power_cut, power_cuts
from tests.crash.promises import ROOT, Promises, Violation, promise_recovered
from tests.crash.records import NOTES, Note
from tests.crash.simulated import Faults, Image, SimulatedDisk, State

START = datetime(2026, 1, 30, 9, tzinfo=UTC)
DAYS = (START, START - timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Remembered:
    """
    A record that keeps every payload it was stamped with, so that promises can be held to the byte.
    """

    inner: Note
    stamped: dict[int, bytes]
    every: set[bytes]

    def stamp(self, position: Position) -> bytes:
        """
        Stamp the note and remember the bytes.
        """
        payload = self.inner.stamp(position)
        self.stamped[position.offset] = payload
        self.every.add(payload)
        return payload


@dataclass(slots=True)
class History:
    """
    One seeded run. `crash_here` is called before every change of the disk, and once at the end.
    """

    seed: int
    crash_here: Callable[["History"], None]
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    promises: Promises = field(default_factory=Promises)
    steps: list[str] = field(default_factory=list)
    stamped: dict[int, bytes] = field(default_factory=dict)
    journal: Journal | None = None
    now: datetime = START
    numbers: int = 0
    observed: int = 0

    def settings(self) -> LedgerSettings:
        """
        Return limits so small that everything happens within a dozen records.
        """
        random = Random(self.seed)
        return LedgerSettings(
            segment_bytes_max=random.choice((900, 2500, 9000)),
            segment_records_max=random.choice((3, 5, 12)),
            batch_records_max=8,
            batch_bytes_max=6000,
            ballast_bytes=0,
            resume_free_bytes=0,
            hot_days=0.0,
            warm_days=1.0,
            retention_days=30.0,
        )

    def run(self) -> None:
        """
        Do the steps that the seed asks for; a step that poisons the journal is followed by a restart.
        """
        random = Random(self.seed)
        self.disk.make_dir(ROOT)
        self.disk.sync(self.disk.open_dir(""))
        self.disk.before_change = self._before_change
        self._open()
        for _ in range(random.randint(3, 9)):
            step = random.choice((self._append, self._append, self._append, self._seal, self._restart, self._age))
            self.steps.append(step.__name__)
            if random.random() < 0.3:
                self.disk.faults = _some_fault(random)
            try:
                step(random)
            except (LedgerError, OSError):
                self.steps.append("failed")
            self.disk.faults = Faults()
            self._observe()
            if self.journal is None or self.journal.poison is not None:
                self.steps.append("started again")
                self._open()
        self._before_change()

    def _before_change(self) -> None:
        self._observe()
        self.crash_here(self)

    def _observe(self) -> None:
        """
        Promise what a reader in the server could have pushed by now.
        """
        if self.journal is not None:
            for offset in range(self.observed + 1, self.journal.durable_offset + 1):
                self.promises.kept[offset] = self.stamped[offset]
            self.observed = self.journal.durable_offset

    def _open(self) -> None:
        self.journal = None
        recovered = recover(self.disk, ROOT, self.settings(), NOTES)
        # Whatever recovery shows may be pushed from here on.
        promise_recovered(self.disk, recovered, self.promises)
        self.stamped = dict(self.promises.kept)
        self.observed = recovered.last_offset
        self.journal = Journal(self.disk, ROOT, self.settings(), lambda: self.now, recovered)

    def _append(self, random: Random) -> None:
        journal = self.journal
        if journal is None:
            return
        groups: dict[str, list[Entry]] = {}
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            self.numbers += 1
            text = "x" * random.choice((0, 0, 90, 400, 700))
            note = Remembered(Note(f"OMEN-{self.numbers:06d}", text), self.stamped, self.promises.tried)
            entry = Entry(random.choice(DAYS), note)
            groups.setdefault(journal.route(entry.emitted_at, set()), []).append(entry)
        for partition, entries in groups.items():
            try:
                journal.commit(partition, entries, [])
            except LedgerWriteError:
                # Nothing of this was appended: it may never be read.
                self._observe()
                beyond = [offset for offset in self.stamped if offset > journal.durable_offset]
                self.promises.refused.update(self.stamped.pop(offset) for offset in beyond)
                raise
            self._observe()

    def _seal(self, random: Random) -> None:
        journal = self.journal
        if journal is None:
            return
        names = [name for name, tail in journal.tails().items() if not tail.sealed and tail.index]
        if not names:
            return
        name = random.choice(names)
        through = journal.freeze(name)
        try:
            seal.seal(self.disk, ROOT, name, through, codec=NOTES, now=lambda: self.now)
        except OSError as error:
            failure = journal.fail(error)
            if journal.poison is None:
                journal.thaw(name)
            raise failure from error
        self.promises.sealed.add(name)

    def _restart(self, random: Random) -> None:
        if self.journal is not None:
            self.journal.close()
        self._open()
        _ = random

    def _age(self, random: Random) -> None:
        age = timedelta(days=random.choice((0.5, 2, 40)))
        for name in partition_names(self.disk, ROOT) if age.days == 40 else ():
            files = read_partition_files(self.disk, ROOT, name)
            if files.sealed and files.manifest is not None and random.random() < 0.5:
                through = json.dumps({"reconciled_through": files.manifest.last_ledger_index}).encode()
                replace_file(self.disk, f"{files.directory}/{RECONCILED}", through)
                self.promises.expired.add(name)
        for _ in lifecycle.run(self.disk, ROOT, self.settings(), self.now + age, dry_run=False):
            pass


def _some_fault(random: Random) -> Faults:
    kind = random.choice(("sync", "sync", "write", "any"))
    error = random.choice((5, 28))
    return Faults(
        kind, random.choice((1, 1, 1, 2, 3, 4, 6, 9)), error, forever=random.random() < 0.4, short=random.random() < 0.2
    )


def check(disk: SimulatedDisk, promises: Promises, settings: LedgerSettings) -> bool:
    """
    Recover what is on *disk*, append to it, cut the power at the worst moment, recover again: nothing promised is gone.

    Return whether the recovery had to name a gap.
    """
    promises = promises.copy()
    recovered = recover(disk, ROOT, settings, NOTES)
    gaps = promise_recovered(disk, recovered, promises)
    journal = Journal(disk, ROOT, settings, lambda: START, recovered)
    stamped: dict[int, bytes] = {}
    for day in DAYS:
        entry = Entry(day, Remembered(Note("OMEN-AFTER"), stamped, promises.tried))
        journal.commit(journal.route(day, set()), [entry], [])
    promises.kept |= {offset: stamped[offset] for offset in stamped if offset <= journal.durable_offset}
    again = SimulatedDisk.holding(power_cut(disk.state))
    once = recover(again, ROOT, settings, NOTES)
    promise_recovered(again, once, promises)
    if once.last_offset != journal.durable_offset:
        raise Violation(f"Recovering twice ends at offset {once.last_offset} instead of {journal.durable_offset}")
    return gaps


def fingerprint(image: Image) -> bytes:
    """
    Return what tells two states apart.
    """
    digest = blake2b(digest_size=12)
    for path in sorted(image):
        content = image[path]
        digest.update(path.encode())
        digest.update(b"\1" if content is None else b"\0" + len(content).to_bytes(4, "big") + content)
    return digest.digest()


@dataclass(slots=True)
class Explorer:
    """
    Visits states until enough distinct ones were checked; of *only* one state, that one.
    """

    wanted: int
    per_crash: int = 24
    seen: set[bytes] = field(default_factory=set)
    demands: set[tuple[bytes, int, frozenset[str]]] = field(default_factory=set)
    gaps: int = 0
    histories: int = 0
    only: tuple[int, int, int] | None = None

    def explore(self, seeds: Iterator[int]) -> None:
        """
        Run histories; raise Violation at the first state that breaks a promise, with its place in the message.
        """
        for seed in seeds:
            self._explore_history(seed)
            self.histories += 1
            if len(self.seen) >= self.wanted:
                return

    def _explore_history(self, seed: int) -> None:
        crash = 0

        def crash_here(history: History) -> None:
            nonlocal crash
            crash += 1
            if len(self.seen) < self.wanted:
                self._states(history, seed, crash)

        history = History(seed, crash_here)
        try:
            history.run()
        except (Violation, OSError, LedgerError, KeyError, ValueError, IndexError) as error:
            if isinstance(error, Violation) and "state" in str(error):
                raise
            raise Violation(f"history {seed} after {history.steps}: {error!r}") from error

    def _states(self, history: History, seed: int, crash: int) -> None:
        random = Random(seed * 100_003 + crash)
        settings = history.settings()
        for at, image in enumerate(power_cuts(history.disk.state, random, self.per_crash)):
            self._visit(image, history.promises, settings, (seed, crash, at), history.steps)
        # Killed, started again, and the power goes while it recovers, with what the first process left unsynced.
        if random.random() < 0.2:
            for at, (image, promises) in enumerate(self._crashes_in_recovery(history, random)):
                self._visit(image, promises, settings, (seed, crash, 1000 + at), history.steps)

    def _visit(
        self, image: Image, promises: Promises, settings: LedgerSettings, place: tuple[int, int, int], steps: list[str]
    ) -> None:
        if self.only is not None and place != self.only:
            return
        key = fingerprint(image)
        # The same bytes under stronger promises are checked again, and counted once.
        demand = key, len(promises.kept), frozenset(promises.sealed)
        if demand in self.demands:
            return
        self.demands.add(demand)
        self.seen.add(key)
        try:
            self.gaps += check(SimulatedDisk.holding(image), promises, settings)
        except (Violation, OSError, LedgerError, KeyError, ValueError, IndexError) as error:
            where = ":".join(map(str, place))
            raise Violation(f"state {where} after {steps}: {error!r}; --replay {where}") from error

    def _crashes_in_recovery(self, history: History, random: Random) -> Iterator[tuple[Image, Promises]]:
        found: list[tuple[Image, Promises]] = []
        disk = SimulatedDisk(state=history.disk.state.copy())
        promises = history.promises.copy()
        states: list[State] = []

        def crash_here() -> None:
            states.append(disk.state.copy())

        disk.before_change = crash_here
        recovered = recover(disk, ROOT, history.settings(), NOTES)
        for state in states:
            found.extend((image, promises) for image in power_cuts(state, random, 6))
        after = promises.copy()
        promise_recovered(disk, recovered, after)
        found.append((kill(disk.state), after))
        found.extend((image, after) for image in power_cuts(disk.state, random, 6))
        yield from found


def main() -> int:
    """
    Explore from the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("states", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", metavar="HISTORY:CRASH:STATE")
    parser.add_argument("--digests", type=Path, help="where to leave what tells the states apart, 12 bytes each")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    begin = time.perf_counter()
    explorer = Explorer(arguments.states)
    seeds = iter(range(arguments.seed, arguments.seed + (1 << 30)))
    if arguments.replay:
        history, crash, state = (int(part) for part in arguments.replay.split(":"))
        explorer = Explorer(1 << 30, only=(history, crash, state))
        seeds = iter((history,))
    try:
        explorer.explore(seeds)
    except Violation as violation:
        sys.stdout.write(f"{violation}\n")
        return 1
    seconds = time.perf_counter() - begin
    if arguments.digests:
        arguments.digests.write_bytes(b"".join(explorer.seen))
    sys.stdout.write(
        f"{len(explorer.seen)} distinct states, {len(explorer.demands)} with their promises, of {explorer.histories} "
        f"histories in {seconds:.1f} s: none breaks a promise, "
        f"{explorer.gaps} have a gap over nothing promised\n"
    )
    if arguments.replay and not explorer.seen:
        sys.stdout.write("There is no such state; did the ledger change since?\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
