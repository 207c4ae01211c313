"""
The proof of the torn tail: of three records the last one is cut, and two are read.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omen_cli.demo.claims import Claim, Show, Step
from omen_cli.demo.damage import HEADER_BYTES, frames, verified
from omen_cli.demo.ten import DAY, Clock, entry, the_ten
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.segment import Record
from omen_server.records import SIGNALS

READ = Claim(
    "crash-tail",
    "Crash-tail: reader returns only complete frames.",
    "tests/omen_server/ledger/test_recovery.py::test_ledger_crash_tail_returns_n_minus_1_valid_records",
)
GONE_ON = Claim(
    "crash-tail-goes-on",
    "Partial frame at end of segment truncated; no corrupt record. What is written next is read next.",
    "tests/omen_server/ledger/test_recovery.py::test_torn_tail_then_three_more",
)
CLAIMS = (READ, GONE_ON)


async def crash_tail(place: Path, show: Show) -> None:
    """
    Write three records, cut into the third, read; start the writer again, read; write another, read.
    """
    directory, clock = place / "crash-tail" / "ledger", Clock()
    first, second, third, fourth = the_ten()[:4]
    segment = directory / DAY / "signals-001.wal"
    with show.step(READ) as step:
        async with open_ledger(directory, SIGNALS, now=clock) as ledger:
            for each in (first, second, third):
                clock.now = each.emitted_at
                await ledger.append([entry(each)])
        whole = segment.read_bytes()
        start = frames(whole)[2]
        step.saw("before", _read(directory), [first.signal_id, second.signal_id, third.signal_id])
        cut_at = start + HEADER_BYTES + (len(whole) - start) // 2
        segment.write_bytes(whole[:cut_at])
        step.saw("torn_at_byte", start, len(whole) - len(whole[start:]))
        step.saw("after", _read(directory), [first.signal_id, second.signal_id])
        step.saw("bytes_the_reader_changed", cut_at - segment.stat().st_size, 0)
    with show.step(GONE_ON) as step:
        with _warnings(step) as said:
            async with open_ledger(directory, SIGNALS, now=clock) as ledger:
                step.saw("cut", segment.stat().st_size, start)
                clock.now = fourth.emitted_at
                await ledger.append([entry(fourth)])
        text = "\n".join(said)
        step.holds("Partial payload" in text and "truncating" in text, "the log does not warn of the partial payload")
        step.saw("after", _read(directory), [first.signal_id, second.signal_id, fourth.signal_id])
        step.saw("faults", verified(directory, DAY).fault_count, 0)


def _read(directory: Path) -> list[str]:
    found = OfflineLedger(directory, SIGNALS).read_partition(DAY)
    return [SIGNALS.signal_id(each.payload) for each in found if isinstance(each, Record)]


@contextmanager
def _warnings(step: Step) -> Iterator[list[str]]:
    """
    Note what the ledger warns of while the block runs.
    """
    said: list[str] = []
    kept = logging.Handler(logging.WARNING)
    kept.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("omen_server.ledger")
    log.addHandler(kept)
    was, log.propagate = log.propagate, False
    try:
        yield said
    finally:
        log.removeHandler(kept)
        log.propagate = was
        step.notes.extend(f"WARNING {each}" for each in said)
