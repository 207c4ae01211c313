"""
What could not be finished, kept until somebody decides.

The same subject again is the same letter, tried once more: a raw event by what identifies it, a signal by its id.
"""

import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import aiosqlite
import structlog

from omen.v1.signal_pb2 import RawSignalEvent
from omen_rpc import metrics
from omen_rpc.errors import MESSAGE_BYTES_MAX, clip
from omen_server import identity
from omen_server.desk.connection import free_bytes
from omen_server.desk.errors import DeadLetterNotFound, DeadLettersFull
from omen_server.desk.reader import Reader, last_of_page
from omen_server.desk.settings import DeskSettings
from omen_server.desk.writer import Writer
from omen_server.pipeline.attribute import ns_of_moment

Stage: TypeAlias = Literal["pipeline", "hot_path"]

IDS_BATCH: Final = 500

_ID: Final = re.compile(r"DL-([0-9A-F]{10})", re.ASCII)
_AGAIN: Final = """
UPDATE dead_letters SET attempts = attempts + 1, event = ?, ledger_offset = ?, reason = ?, message = ?
WHERE stage = ? AND subject = ? RETURNING number"""
_INSERT: Final = """
INSERT INTO dead_letters (event, ledger_offset, reason, message, stage, subject, at_ns, attempts)
VALUES (?, ?, ?, ?, ?, ?, ?, 1) RETURNING number"""
_SELECT: Final = """
SELECT number, stage, subject, event, ledger_offset, at_ns, reason, message, attempts FROM dead_letters"""
_COUNT: Final = "SELECT count(*) FROM dead_letters"
_SIZES: Final = "SELECT number, length(event) FROM dead_letters WHERE number > ? ORDER BY number LIMIT ?"
_PAGE: Final = f"{_SELECT} WHERE number > ? AND number <= ? ORDER BY number"
_GET: Final = f"{_SELECT} WHERE number IN (SELECT value FROM json_each(?)) ORDER BY number"  # noqa: S608 - of constants.
_CHECK: Final = "SELECT number FROM dead_letters WHERE number IN (SELECT value FROM json_each(?))"
_FORGET: Final = "DELETE FROM dead_letters WHERE number IN (SELECT value FROM json_each(?))"
_TRIED: Final = "UPDATE dead_letters SET attempts = attempts + 1 WHERE number IN (SELECT value FROM json_each(?))"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failure:
    """
    What failed and why, before it is kept. Made by `of_event` and `of_signal`.
    """

    stage: Stage
    subject: str
    event: bytes
    offset: int
    reason: str
    message: str


def of_event(raw: RawSignalEvent, reason: str, message: str) -> Failure:
    """
    Return that a raw event failed in the pipeline.
    """
    return Failure(
        "pipeline", identity.input_event_hash(raw), raw.SerializeToString(), 0, reason, clip(message, MESSAGE_BYTES_MAX)
    )


def of_signal(signal_id: str, offset: int, reason: str, message: str) -> Failure:
    """
    Return that RiskCast refuses a signal for good. The ledger has it, at *offset*.
    """
    return Failure("hot_path", signal_id, b"", offset, reason, clip(message, MESSAGE_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """
    One of them. `number` grows with time; `dead_letter_id` is what the world calls it.
    """

    number: int
    stage: Stage
    subject: str
    event: bytes
    offset: int
    at_ns: int
    reason: str
    message: str
    attempts: int

    @property
    def dead_letter_id(self) -> str:
        """
        Its id.
        """
        return id_of(self.number)

    @property
    def raw(self) -> RawSignalEvent:
        """
        The raw event that failed in the pipeline.
        """
        return RawSignalEvent.FromString(self.event)

    @property
    def signal_id(self) -> str:
        """
        The signal that RiskCast refuses; empty for a raw event.
        """
        return self.subject if self.stage == "hot_path" else ""


class DeadLetters:
    """
    The letters in the database. Whatever changes them returns once the change survives a power cut.
    """

    def __init__(self, writer: Writer, reader: Reader, path: Path, settings: DeskSettings) -> None:
        self._writer = writer
        self._reader = reader
        self._path = path
        self._max = settings.dead_letters_max
        self._count = 0

    async def begin(self) -> None:
        """
        Count what is there.
        """
        ((count,),) = await self._reader.rows(_COUNT)
        self._counted(count)

    @property
    def count(self) -> int:
        """
        How many there are.
        """
        return self._count

    async def keep(self, failures: Sequence[Failure], at: datetime) -> list[str]:
        """
        Keep each, and return their ids in order; an empty one where there was no room. What is known is counted again.
        """

        async def work(connection: aiosqlite.Connection) -> tuple[list[int], int]:
            ((count,),) = await connection.execute_fetchall(_COUNT)
            numbers: list[int] = []
            for each in failures:
                told = (each.event, each.offset, each.reason, each.message, each.stage, each.subject)
                rows: Any = await connection.execute_fetchall(_AGAIN, told)
                if not rows and count < self._max:
                    rows = await connection.execute_fetchall(_INSERT, (*told, ns_of_moment(at)))
                    count += 1
                numbers.append(next(iter(rows))[0] if rows else 0)
            return numbers, count

        numbers, count = await self._writer.commit(work)
        self._counted(count)
        for each, number in zip(failures, numbers, strict=True):
            if not number:
                # Loud, because what is not kept here is kept nowhere else but with the caller, or in the ledger.
                metrics.DEAD_LETTERS_REFUSED.labels(each.stage).inc()
                log.error("dead_letters_full", dead_letters_max=self._max, stage=each.stage, reason=each.reason)
        return [id_of(number) if number else "" for number in numbers]

    def no_room(self) -> DeadLettersFull:
        """
        Return the error for a caller whose raw event could not be kept.
        """
        return DeadLettersFull(self._path, self._max, free_bytes(self._path))

    async def page(self, after_number: int, count_max: int) -> list[DeadLetter]:
        """
        Return the letters behind a number, oldest first: no more than asked for, and not many bytes more than a reply
        has room for.
        """
        last = last_of_page(await self._reader.rows(_SIZES, (after_number, count_max)))
        rows = await self._reader.rows(_PAGE, (after_number, last))
        return [DeadLetter(*row) for row in rows]

    async def get(self, ids: Sequence[str]) -> list[DeadLetter]:
        """
        Return the letters of these ids, oldest first. DeadLetterNotFound names the first that is not there.
        """
        await self.check(ids)
        rows = await self._reader.rows(_GET, (json.dumps(numbers_of(ids)),))
        return [DeadLetter(*row) for row in rows]

    async def check(self, ids: Sequence[str]) -> None:
        """
        Raise DeadLetterNotFound for the first of these ids that is not there.
        """
        numbers = numbers_of(ids)
        rows = await self._reader.rows(_CHECK, (json.dumps(numbers),))
        found = {row[0] for row in rows}
        for number in numbers:
            if number not in found:
                raise DeadLetterNotFound(id_of(number))

    async def ids(self, count_max: int = IDS_BATCH) -> AsyncIterator[list[str]]:
        """
        Yield the ids of all that are there now, oldest first, in batches. What comes meanwhile is not among them.
        """
        ((last,),) = await self._reader.rows("SELECT ifnull(max(number), 0) FROM dead_letters")
        at = 0
        while rows := await self._reader.rows(
            "SELECT number FROM dead_letters WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",
            (at, last, count_max),
        ):
            at = rows[-1][0]
            yield [id_of(row[0]) for row in rows]

    async def forget(self, ids: Sequence[str]) -> int:
        """
        Delete these letters and return how many there were. Ids that are not there are none.
        """
        return await self._change(_FORGET, (json.dumps(numbers_of(ids)),))

    async def forget_all(self) -> int:
        """
        Delete every letter and return how many there were.
        """
        return await self._change("DELETE FROM dead_letters", ())

    async def tried_again(self, ids: Sequence[str]) -> int:
        """
        Count an attempt more for each of these, and return how many there are.
        """
        return await self._change(_TRIED, (json.dumps(numbers_of(ids)),))

    async def _change(self, sql: str, parameters: tuple[object, ...]) -> int:
        async def work(connection: aiosqlite.Connection) -> tuple[int, int]:
            cursor = await connection.execute(sql, parameters)
            ((count,),) = await connection.execute_fetchall(_COUNT)
            return cursor.rowcount, count

        changed, count = await self._writer.commit(work)
        self._counted(count)
        return changed

    def _counted(self, count: int) -> None:
        self._count = count
        metrics.DEAD_LETTERS.set(count)


def id_of(number: int) -> str:
    """
    Return a letter's id.
    """
    return f"DL-{number:010X}"


def numbers_of(ids: Sequence[str]) -> list[int]:
    """
    Return the letters' numbers; DeadLetterNotFound for what is no id at all.
    """
    numbers = []
    for each in ids:
        found = _ID.fullmatch(each)
        if found is None:
            raise DeadLetterNotFound(each)
        numbers.append(int(found[1], 16))
    return numbers
