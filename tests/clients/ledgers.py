"""
Ledgers on disk for tests of the offline tools, made with the engine itself; and a process that writes one.

    python -m tests.clients.ledgers DIRECTORY
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import PayloadKind, decode_json
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.settings import LedgerSettings
from omen_server.records import SIGNALS, entry_of

DAY = "2026-01-28"
NOON = datetime(2026, 1, 28, 12, tzinfo=UTC)
SMALL = LedgerSettings(segment_records_max=20, ballast_bytes=4096, resume_free_bytes=0)


def signal(number: int, emitted_at: datetime = NOON) -> SignalEvent:
    """
    Return the n-th signal.
    """
    moment = emitted_at.isoformat().replace("+00:00", "Z")
    return decode_json(
        orjson.dumps(
            {
                "schema_version": "1.0.0",
                "signal_id": f"OMEN-{number:09d}",
                "deterministic_trace_id": f"{number:016x}",
                "input_event_hash": "sha256:" + "a" * 64,
                "source_event_id": f"evt-{number}",
                "ruleset_version": "1.0.0",
                "observed_at": moment,
                "emitted_at": moment,
                "signal": {
                    "signal_id": f"OMEN-{number:09d}",
                    "title": "Red Sea transit disruption",
                    "probability": 0.72,
                    "confidence_score": 0.85,
                    "confidence_level": "HIGH",
                    "category": "GEOPOLITICAL",
                    "generated_at": moment,
                },
            }
        )
    )


async def append(ledger: Ledger, numbers: Iterable[int], at: datetime = NOON, kind: PayloadKind = "json") -> None:
    """
    Append signals, each in a group of its own.
    """
    for number in numbers:
        await ledger.append([entry_of(signal(number, at), kind)])


async def write_small(place: Path, kind: PayloadKind = "json", now: datetime = NOON) -> None:
    """
    Write a ledger: 50 signals of a day in three segments, sealed; 5 late ones; 10 of the next day, open.
    """
    next_day = NOON + timedelta(days=1)
    async with open_ledger(place, SIGNALS, SMALL, lambda: max(now, next_day)) as ledger:
        await append(ledger, range(1, 51), kind=kind)
        await ledger.seal(DAY)
        await append(ledger, range(51, 56), kind=kind)
        await append(ledger, range(56, 66), next_day, kind)


async def write_open(place: Path, count: int) -> None:
    """
    Write a ledger with one open partition in one segment, all of it one group.
    """
    async with open_ledger(place, SIGNALS, now=lambda: NOON) as ledger:
        await ledger.append([entry_of(signal(number), "json") for number in range(1, count + 1)])


def frame_starts(file: Path) -> list[int]:
    """
    Return where the frames of a whole segment start.
    """
    data, starts, at = file.read_bytes(), [], 0
    while at < len(data):
        starts.append(at)
        at += 8 + int.from_bytes(data[at : at + 4], "big")
    return starts


def flip(file: Path, byte: int, bit: int = 0) -> None:
    """
    Flip one bit of a file, written through whatever its permissions say.
    """
    data = bytearray(file.read_bytes())
    data[byte] ^= 1 << bit
    file.chmod(0o640)
    file.write_bytes(data)


def tear(file: Path, size_bytes: int = 7) -> None:
    """
    Cut the last bytes off a file, as a crash may.
    """
    data = file.read_bytes()
    file.write_bytes(data[:-size_bytes])


def hashes(place: Path) -> dict[str, str]:
    """
    Return what every file under a directory is and since when it has been that.
    """
    return {
        str(file.relative_to(place)): f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.stat().st_mtime_ns}"
        for file in sorted(place.rglob("*"))
        if file.is_file()
    }


async def write_until_killed(place: Path) -> None:
    """
    Append one signal after the other, saying each one's offset once it is acknowledged.
    """
    async with open_ledger(place, SIGNALS, SMALL) as ledger:
        for number in range(1_000_000):
            moment = datetime.now(UTC)
            [position] = await ledger.append([entry_of(signal(number, moment), "json")])
            os.write(1, f"{position.offset} {position.partition}\n".encode())


if __name__ == "__main__":
    asyncio.run(write_until_killed(Path(sys.argv[1])))
