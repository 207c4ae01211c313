"""
RiskCast's store: every signal once, by its id, and every ledger position it was seen at.

Two Protocols, because two engines keep them: SQLite by default, PostgreSQL by URL. The engines share no code; one suite
holds both, and the memory fake of the tests, to what is written here.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.position_pb2 import BlockFingerprint, IndexRange
from omen.v1.signal_pb2 import SignalEvent
from omen_storage.sqlite.database_file import path_in
from riskcast.v1 import ingest_service_pb2
from riskcast.v1.ingest_service_pb2 import IngestOrigin
from riskcast.v1.inventory_service_pb2 import (
    CompareBlocksResponse,
    Conflict,
    GetCoverageResponse,
    GetIngestStatsResponse,
    Position,
    ProcessedSignal,
)
from riskcast_server.store.errors import (
    StoreBusy,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLocked,
    StoreTooNew,
    StoreUnavailable,
    StoreUrlUnknown,
)
from riskcast_server.store.limits import AckDraw, Clock, NewAcks, StoreLimits, utc_now

__all__ = [
    "INDEX_MAX",
    "ORIGIN_NAMES",
    "POSITIONS_PER_LIST_MAX",
    "Arrival",
    "Page",
    "PositionStore",
    "Receipt",
    "SignalStore",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreLimits",
    "StoreLocked",
    "StoreTooNew",
    "StoreUnavailable",
    "StoreUrlUnknown",
    "backup_store",
    "open_store",
    "restore_store",
]

# The engines keep positions in signed 64-bit columns, and count one past the last.
INDEX_MAX: Final = 2**62
POSITIONS_PER_LIST_MAX: Final = 2048
DAY_S: Final = 86_400

_SECONDS_MIN: Final = -62_135_596_800
_SECONDS_MAX: Final = 253_402_300_799

ORIGIN_NAMES: Final = {
    ingest_service_pb2.INGEST_ORIGIN_HOT_PATH: "hot_path",
    ingest_service_pb2.INGEST_ORIGIN_RECONCILE: "reconcile",
    ingest_service_pb2.INGEST_ORIGIN_DIRECT: "direct",
}

Item = TypeVar("Item")


class Arrival(NamedTuple):
    """
    A signal as it came, by what its row says of it, and the digest that RiskCast vouches for.
    """

    signal_id: str
    trace_id: str
    emitted_at_us: int
    partition_date: str
    ledger_partition: str
    ledger_index: int
    origin: IngestOrigin.ValueType
    request_id: str
    content_digest: str
    signal_data: bytes

    @classmethod
    def of(
        cls,
        event: SignalEvent,
        content_digest: str,
        origin: IngestOrigin.ValueType,
        request_id: str = "",
        data: bytes = b"",
    ) -> "Arrival":
        """
        Return *event* as an arrival. *data* is its bytes, from whoever has made them already to learn their number.

        Whoever is not OMEN holds no position in its ledger, whatever the event claims.

        ValueError when a row could not hold it: an unknown origin, NUL in a text, a year or a position beyond what
        there is. One such arrival would fail the transaction of everybody it shares it with.
        """
        signal_id, trace_id, at = event.signal_id, event.deterministic_trace_id, event.emitted_at
        partition, index, seconds, nanos = event.ledger_partition, event.ledger_index, at.seconds, at.nanos
        if origin not in ORIGIN_NAMES:
            raise ValueError(f"origin {origin} is none of {sorted(ORIGIN_NAMES)}")
        if index > INDEX_MAX or event.ledger_sequence > INDEX_MAX:
            raise ValueError(f"ledger_index or ledger_sequence is above {INDEX_MAX}")
        if not (_SECONDS_MIN <= seconds <= _SECONDS_MAX and 0 <= nanos < 10**9):
            raise ValueError("emitted_at is not in the years 0001 to 9999")
        if "\0" in f"{signal_id}{trace_id}{partition}{content_digest}{request_id}":
            raise ValueError("a text contains NUL")
        if origin == ingest_service_pb2.INGEST_ORIGIN_DIRECT or not partition or not index:
            partition, index = "", 0
        return cls(
            signal_id,
            trace_id,
            seconds * 1_000_000 + nanos // 1000,
            _date(seconds // DAY_S),
            partition,
            index,
            origin,
            request_id,
            content_digest,
            data or event.SerializeToString(),
        )

    @property
    def position(self) -> tuple[str, int] | None:
        """
        The partition and index it holds in OMEN's ledger, if it holds any.
        """
        return (self.ledger_partition, self.ledger_index) if self.ledger_index else None


@lru_cache(maxsize=1024)
def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()


class Receipt(NamedTuple):
    """
    What was said when a signal was stored, and whether that was just now.

    `content_conflict`: what came just now has another digest than `content_digest`, the stored one.
    """

    signal_id: str
    ack_id: str
    processed_at: Timestamp
    origin: IngestOrigin.ValueType
    request_id: str
    content_digest: str
    duplicate: bool
    content_conflict: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """
    Some of a list. `cursor` continues it; 0 says that this was the end.
    """

    items: list[Item]
    cursor: int


class SignalStore(Protocol):
    """
    Signals, kept once each, by id, for ever.

    Every method may raise `StoreUnavailable` (the caller may retry) or `StoreFailed` (the process must stop).
    """

    async def put(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """
        Keep each signal unless its id is known, and return one receipt each, in order.

        Does not return before all of them survive a power cut. A known id's receipt is the original one, marked
        `duplicate`; its row never changes. Positions are recorded, of duplicates too: with the stored digest, because a
        fingerprint vouches for what is kept. A position that another id holds stays with it, as a conflict on record.

        A caller that is cancelled while it waits leaves everything stored or nothing, and the store usable. Nothing at
        all to put is a question: can the store write? Raises `StoreBusy` and `StoreFull` as well.
        """

    async def get(self, signal_id: str) -> ProcessedSignal | None:
        """
        Return the signal as it is stored, or None.
        """

    async def lookup(self, signal_ids: Sequence[str]) -> list[Receipt]:
        """
        Return the receipts of those that are stored, marked `duplicate`, in the order asked and each id once.
        """

    async def list_signals(
        self,
        *,
        partition: str = "",
        origin: IngestOrigin.ValueType = ingest_service_pb2.INGEST_ORIGIN_UNSPECIFIED,
        after: int = 0,
        limit: int = 100,
        bytes_max: int = 512 * 1024,
    ) -> Page[ProcessedSignal]:
        """
        List signals in the order they were stored, those after the cursor *after*, at most *limit*.

        A page ends early when its events come to *bytes_max*, but it has one signal at least.
        """

    async def list_conflicts(self, *, before: int = 0, limit: int = 100) -> Page[Conflict]:
        """
        List conflicts, newest first, those older than the cursor *before*. The same one again is not listed again.
        """

    async def stats(self) -> GetIngestStatsResponse:
        """
        Count what is stored. What a process counts since its start is left unset.
        """


class PositionStore(Protocol):
    """
    The ledger positions of stored signals, and what the reconciler compares them by.

    Each answer comes from one snapshot. Raises as `SignalStore` does.
    """

    async def coverage(
        self,
        partition: str,
        from_index: int,
        through_index: int,
        *,
        ledger_gaps: Sequence[IndexRange] = (),
        max_ranges: int = 1000,
        bypass_cache: bool = False,
    ) -> GetCoverageResponse:
        """
        Tell which positions from *from_index* (0 counts as 1) through *through_index* are not held.

        *ledger_gaps* may overlap and come in any order. When there are more than *max_ranges* ranges, missing and
        recoverable ones together, the answer ends before the first it has no room for, fingerprint and all, and
        `next_index` continues it; the answers together say what one would have said. ValueError beyond `INDEX_MAX`.
        """

    async def compare(
        self, partition: str, through_index: int, blocks: Sequence[BlockFingerprint]
    ) -> CompareBlocksResponse:
        """
        Return those of *blocks* that differ from what is held through *through_index*, as they are held.
        """

    async def positions(self, partition: str, first_index: int, last_index: int) -> list[Position]:
        """
        List what is held, ascending. ValueError for a range of more than `POSITIONS_PER_LIST_MAX`.
        """


@dataclass(frozen=True, slots=True)
class Store:
    """
    An open store. `engine` names it for the log, with its version.
    """

    signals: SignalStore
    positions: PositionStore
    engine: str


@asynccontextmanager
async def open_store(
    url: str, *, limits: StoreLimits | None = None, now: Clock = utc_now, acks: NewAcks | None = None
) -> AsyncIterator[Store]:
    """
    Open the store at *url*: ``sqlite:///path`` or ``postgresql://…``. Create it or migrate it where needed.

    On leaving, everything taken is committed first. Raises `StoreLocked`, `StoreTooNew` and `StoreUrlUnknown` as well.
    """
    limits, acks = limits or StoreLimits(), acks or AckDraw(now)
    if urlsplit(url).scheme == "sqlite":
        from riskcast_server.store.sqlite import open_sqlite  # noqa: PLC0415 - a driver is loaded where it is used.

        opened = open_sqlite(path_in(url, StoreUrlUnknown), limits, now, acks)
    else:
        _refuse_unknown(url)
        from riskcast_server.store.postgres import open_postgres  # noqa: PLC0415 - as above; asyncpg is an extra.

        opened = open_postgres(url, limits, now, acks)
    async with opened as store:
        yield store


async def backup_store(url: str, file: Path) -> None:
    """
    Write a consistent copy of the store at *url*, which may be open in a server, to *file*, which must not exist.

    SQLite only: `StoreUrlUnknown` otherwise. PostgreSQL has pg_dump for this.
    """
    from riskcast_server.store.sqlite.backup import backup  # noqa: PLC0415 - as in open_store.

    await backup(path_in(url, StoreUrlUnknown), file)


async def restore_store(url: str, file: Path | None = None) -> str:
    """
    Put the backup *file* in place of the store at *url*, give it a new epoch, and return that.

    For PostgreSQL, pg_restore has put it in place: *file* is None. A server that has the store open is refused with
    `StoreLocked` by SQLite, and seen by its readers in PostgreSQL.
    """
    if urlsplit(url).scheme == "sqlite" and file is not None:
        from riskcast_server.store.sqlite.backup import restore  # noqa: PLC0415 - as in open_store.

        return await restore(path_in(url, StoreUrlUnknown), file)
    _refuse_unknown(url)
    if file is not None:
        raise ValueError("pg_restore reads PostgreSQL's backups")
    from riskcast_server.store.postgres.schema import renew_epoch  # noqa: PLC0415 - as in open_store.

    return await renew_epoch(url)


def _refuse_unknown(url: str) -> None:
    scheme = urlsplit(url).scheme
    if scheme not in ("postgresql", "postgres"):
        raise StoreUrlUnknown(scheme)
