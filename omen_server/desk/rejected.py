"""
The newest raw events that the rules refused. Seeing them again costs nobody anything, so nothing here is synced.
"""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.operations_service_pb2 import RejectedEvent
from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.desk.reader import Reader, last_of_page
from omen_server.desk.settings import DeskSettings
from omen_server.desk.writer import Rows, Writer
from omen_server.pipeline.run import Outcome

NUMBER_MAX: Final = (1 << 63) - 1

_INSERT: Final = "INSERT INTO rejected (number, rule, record) VALUES (?, ?, ?)"
_OF_PAGE: Final = "FROM rejected WHERE number > ? AND number < ? AND (? = '' OR rule = ?) ORDER BY number DESC LIMIT ?"
_SIZES: Final = f"SELECT number, length(record) {_OF_PAGE}"
_PAGE: Final = f"SELECT number, record {_OF_PAGE}"
_DELETE: Final = "DELETE FROM rejected WHERE number <= ?"


class Rejected:
    """
    At most so many of them, and so many bytes.
    """

    def __init__(self, writer: Writer, reader: Reader, settings: DeskSettings) -> None:
        self._writer = writer
        self._reader = reader
        self._max = settings.rejected_max
        self._bytes_max = settings.rejected_bytes_max
        self._unwritten: deque[tuple[int, str, bytes]] = deque(maxlen=settings.rejected_max)
        # Number and size of what is kept, oldest first.
        self._kept: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._last = 0
        self._gone = 0

    async def begin(self) -> None:
        """
        Learn what is there.
        """
        rows = await self._reader.rows("SELECT number, length(record) FROM rejected ORDER BY number")
        self._kept.extend((number, size) for number, size in rows)
        self._bytes = sum(size for _, size in self._kept)
        self._last = self._kept[-1][0] if self._kept else 0
        self._writer.carry(self._take)

    def keep(self, raw: RawSignalEvent, outcome: Outcome, at: datetime) -> None:
        """
        Keep an event that was refused, with all that was said of it. It is written before long.
        """
        record = RejectedEvent(event=raw, verdicts=outcome.verdicts, rule=outcome.rejected_by)
        record.at.CopyFrom(moment(at))
        written = record.SerializeToString()
        self._last += 1
        self._unwritten.append((self._last, outcome.rejected_by, written))
        self._kept.append((self._last, len(written)))
        self._bytes += len(written)
        while len(self._kept) > self._max or (self._bytes > self._bytes_max and len(self._kept) > 1):
            self._gone, size = self._kept.popleft()
            self._bytes -= size
        self._writer.soon()

    async def page(self, before_number: int, rule: str, count_max: int) -> list[tuple[int, RejectedEvent]]:
        """
        Return the events before a number (0: from the newest), newest first, with their numbers; of one rule if named.
        """
        if self._unwritten:
            await self._writer.flush()
        parameters = (self._gone, before_number or NUMBER_MAX, rule, rule, count_max)
        last = last_of_page(await self._reader.rows(_SIZES, parameters))
        rows = await self._reader.rows(_PAGE, (max(last - 1, self._gone), *parameters[1:]))
        return [(number, RejectedEvent.FromString(record)) for number, record in rows]

    def _take(self) -> Iterator[tuple[str, Rows]]:
        if self._unwritten:
            rows = list(self._unwritten)
            self._unwritten.clear()
            yield _INSERT, rows
            yield _DELETE, [(self._gone,)]


def moment(at: datetime) -> Timestamp:
    """
    Return a time as the contract has it.
    """
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
