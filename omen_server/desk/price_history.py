"""
What was seen of each source event before, kept over restarts: a row a series, read when it is asked for.

Points are written some time after they were seen. One that a power cut takes is one point less to compare with.
"""

import json
import struct
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Final

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.desk.reader import Reader
from omen_server.desk.settings import DeskSettings
from omen_server.desk.writer import Rows, Writer
from omen_server.pipeline.attribute import SECOND_NS, ns_of_moment
from omen_server.pipeline.history import AGE_S_MAX, History, Point, Series, bounded, extended, key_of, point_of

# Twice the largest batch; a series of 1,000 points takes 100 KB here.
CACHE_SERIES_MAX: Final = 1_024
# What was observed later than that is no history, whoever says so.
AHEAD_NS_MAX: Final = 3_600 * SECOND_NS
SWEEP_INTERVAL_NS: Final = 600 * SECOND_NS
POINT: Final = struct.Struct("<qd")

_UPSERT: Final = """
INSERT INTO series (key, newest_ns, points) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET newest_ns = excluded.newest_ns, points = excluded.points"""
_DELETE_OLD: Final = "DELETE FROM series WHERE newest_ns < ?"
_DELETE_MANY: Final = """
DELETE FROM series WHERE key IN (SELECT key FROM series ORDER BY newest_ns DESC, key LIMIT -1 OFFSET ?)"""


class PriceHistory:
    """
    Every series, the latest ones in memory as well.
    """

    def __init__(self, writer: Writer, reader: Reader, settings: DeskSettings) -> None:
        self._writer = writer
        self._reader = reader
        self._series_max = settings.series_max
        self._unwritten: dict[str, Series] = {}
        self._known: OrderedDict[str, Series] = OrderedDict()
        self._pinned: Counter[str] = Counter()
        self._now_ns = 0
        self._swept_ns = 0
        writer.carry(self._take)

    async def load(self, keys: Iterable[str], now: datetime) -> History:
        """
        Return the series of these keys as of *now*; those that nothing is known of are not there.
        """
        wanted, now_ns = sorted(set(keys)), ns_of_moment(now)
        await self._have(wanted)
        found = {key: series for key in wanted if (series := bounded(self._at_hand(key), now_ns))}
        self._shrink()
        return MappingProxyType(found)

    async def extend(self, events: Sequence[RawSignalEvent], now: datetime) -> None:
        """
        Put the events' prices into their series. What says no price, was seen before, or is yet to come
        adds nothing.
        """
        now_ns = ns_of_moment(now)
        points = [
            (key_of(raw), point)
            for raw in events
            if (point := point_of(raw)) is not None and point.observed_ns <= now_ns + AHEAD_NS_MAX
        ]
        await self._have(sorted({key for key, _ in points}))
        # From here on nobody else runs: what was fetched is changed in one go.
        self._now_ns = max(self._now_ns, now_ns)
        for key, point in points:
            before = self._at_hand(key)
            after = extended(before, point, now_ns)
            if after and after != before:
                self._unwritten[key] = after
        self._shrink()
        if self._unwritten:
            self._writer.soon()

    def _at_hand(self, key: str) -> Series:
        return self._unwritten.get(key) or self._known.get(key, ())

    async def _have(self, keys: Sequence[str]) -> None:
        """
        Have these series in memory when this returns. Others may push them out while some are fetched.
        """
        while missing := [key for key in keys if key not in self._unwritten and key not in self._known]:
            await self._fetch(missing)
        for key in keys:
            if key in self._known:
                self._known.move_to_end(key)

    async def _fetch(self, keys: Sequence[str]) -> None:
        # Pinned: what others fetch and extend meanwhile stays in memory, or older points would come over it here.
        self._pinned.update(keys)
        try:
            # A series that is just being written is in neither place, and not yet in the database.
            await self._writer.at_rest()
            rows = await self._reader.rows(
                "SELECT key, points FROM series WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(keys),)
            )
        finally:
            self._pinned.subtract(keys)
        points = {key: unpacked(blob) for key, blob in rows}
        for key in keys:
            self._known.setdefault(key, points.get(key, ()))

    def _shrink(self) -> None:
        if len(self._known) > CACHE_SERIES_MAX:
            self._pinned = +self._pinned
            free = (key for key in self._known if key not in self._pinned)
            for key in list(islice(free, len(self._known) - CACHE_SERIES_MAX)):
                del self._known[key]

    def _take(self) -> Iterator[tuple[str, Rows]]:
        if not self._unwritten:
            return
        rows = [(key, series[-1].observed_ns, packed(series)) for key, series in self._unwritten.items()]
        self._known.update(self._unwritten)
        for key in self._unwritten:
            self._known.move_to_end(key)
        self._unwritten = {}
        self._shrink()
        yield _UPSERT, rows
        if self._now_ns - self._swept_ns >= SWEEP_INTERVAL_NS:
            self._swept_ns = self._now_ns
            yield _DELETE_OLD, [(self._now_ns - AGE_S_MAX * SECOND_NS,)]
            yield _DELETE_MANY, [(self._series_max,)]


def packed(series: Series) -> bytes:
    """
    Return a series as it lies in its row.
    """
    return b"".join(POINT.pack(point.observed_ns, point.probability) for point in series)


def unpacked(blob: bytes) -> Series:
    """
    Return the series of a row.
    """
    return tuple(Point(*pair) for pair in POINT.iter_unpack(blob))
