"""
The signal index: what the ledger holds, by id, hash, source, time, category and partition.

A projection of the ledger and nothing more: deleted, damaged, behind or ahead, it is made again from there. Two
engines keep it, SQLite by default and PostgreSQL by URL; they share no code, and one suite holds both, and the memory
fake of the tests, to what is written here.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

from omen_server.index.errors import (
    IndexDamaged,
    IndexFailed,
    IndexFault,
    IndexFellBack,
    IndexLocked,
    IndexMoved,
    IndexOfAnother,
    IndexTooNew,
    IndexUnavailable,
    IndexUrlUnknown,
)
from omen_server.index.row import Row, bounded_ns, folded, plain, row_of
from omen_storage.sqlite.database_file import path_in

__all__ = [
    "LOOKED_ROWS_MAX",
    "TEXT_WORDS_MAX",
    "TRACE_IDS_MAX",
    "WANTED_MAX",
    "Counts",
    "Index",
    "IndexDamaged",
    "IndexFailed",
    "IndexFault",
    "IndexFellBack",
    "IndexLocked",
    "IndexMoved",
    "IndexOfAnother",
    "IndexTooNew",
    "IndexUnavailable",
    "IndexUrlUnknown",
    "Known",
    "Lookup",
    "Mark",
    "Outcome",
    "Page",
    "Projection",
    "Query",
    "Row",
    "Wanted",
    "merged",
    "open_index",
    "row_of",
]

WANTED_MAX: Final = 500
TRACE_IDS_MAX: Final = 100
TEXT_WORDS_MAX: Final = 16
LOOKED_ROWS_MAX: Final = 100_000

_DELIVERED: Final = (1, 2)  # EMIT_STATUS_DELIVERED and EMIT_STATUS_DUPLICATE.


@dataclass(frozen=True, slots=True)
class Mark:
    """
    Up to which offset of which ledger the index is true. `crc` is that of the record there, 0 where none can be read.
    """

    ledger_id: str
    ledger_epoch: str
    offset: int
    crc: int


@dataclass(frozen=True, slots=True)
class Known:
    """
    What the index says of a record. The event itself is read from the ledger, by `partition` and `ledger_index`.

    `status` is an EmitStatus; 0 when nobody has noted one since the index was made.
    """

    offset: int
    partition: str
    ledger_index: int
    signal_id: str
    input_event_hash: str
    content_digest: str
    status: int
    ack_id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of a record on the hot path.
    """

    offset: int
    status: int
    ack_id: str = ""

    @property
    def strength(self) -> int:
        """
        How much it says: 2 with RiskCast's ack, 1 without, 0 when it says nothing. A weaker one replaces no stronger.
        """
        if self.status in _DELIVERED and self.ack_id:
            return 2
        return int(self.status != 0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Whose first record behind an offset is looked for, and, where they are given, under which raw event and with which
    content.
    """

    signal_id: str
    input_event_hash: str = ""
    content_digest: str = ""
    after_offset: int = 0

    def __post_init__(self) -> None:
        for name in ("signal_id", "input_event_hash", "content_digest"):
            if "\0" in getattr(self, name):  # Rows have none; see `plain`.
                object.__setattr__(self, name, plain(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Query:
    """
    Which signals are wanted: the filters of ListSignals, joined by AND; empty ones filter nothing.

    ValueError beyond `TRACE_IDS_MAX` and `TEXT_WORDS_MAX`.
    """

    partition: str = ""
    emitted_from_ns: int | None = None
    emitted_through_ns: int | None = None
    categories: Sequence[int] = ()
    trace_ids: Sequence[str] = ()
    input_event_hash: str = ""
    source_event_id: str = ""
    text: str = ""
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        words = tuple(dict.fromkeys(folded(self.text).split()))
        if len(self.trace_ids) > TRACE_IDS_MAX or len(words) > TEXT_WORDS_MAX:
            raise ValueError(f"more than {TRACE_IDS_MAX} trace ids or {TEXT_WORDS_MAX} words")
        object.__setattr__(self, "words", words)
        for name in ("partition", "input_event_hash", "source_event_id"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        object.__setattr__(self, "trace_ids", tuple(plain(each) for each in self.trace_ids))
        for name in ("emitted_from_ns", "emitted_through_ns"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, bounded_ns(getattr(self, name)))

    @property
    def sifts(self) -> bool:
        """
        Tell whether rows must be looked at that may not be wanted: no engine has these by an index of its own.
        """
        times = (self.emitted_from_ns, self.emitted_through_ns)
        return bool(self.words or self.categories) or times != (None, None)


@dataclass(frozen=True, slots=True)
class Page:
    """
    Some of a list, newest first. `before_offset` continues it, also when nothing was found yet; 0 says it has ended.
    """

    items: list[Known]
    before_offset: int


@dataclass(frozen=True, slots=True)
class Counts:
    """
    How many records the index has, and how many of them were emitted on the day asked about.
    """

    rows: int
    of_day: int


class Projection(Protocol):
    """
    The index as its one follower writes it.

    Every method may raise `IndexUnavailable` (ask for the mark, go on from there) or `IndexFailed`.
    """

    async def mark(self) -> Mark | None:
        """
        Return up to where the index is true; None when it is empty and nobody's.
        """

    async def put(self, rows: Sequence[Row], mark: Mark, after_offset: int) -> None:
        """
        Keep *rows*, ascending and all of them behind *after_offset*, and move the mark, both or neither.

        *after_offset* is where the writer believes the mark to be, 0 for none; `IndexMoved` when it is not there, and
        `IndexOfAnother` when it belongs to another ledger.
        """

    async def cut(self, offset: int) -> None:
        """
        Forget every row behind *offset*, and move the mark there, with the crc of the row there or 0.

        With 0 everything is forgotten, the mark as well.
        """

    async def note(self, outcomes: Sequence[Outcome]) -> None:
        """
        Keep what became of records that have a row. What is weaker than what is there replaces nothing.
        """


class Lookup(Protocol):
    """
    The index as the services ask it. Raises as `Projection` does.
    """

    async def find(self, wanted: Sequence[Wanted], true_through: int = 0) -> list[Known | None]:
        """
        Return for each of *wanted*, in order, the record with the lowest offset that fits, or None.

        ValueError for more than `WANTED_MAX`; `IndexUnavailable` when the mark is below *true_through*: what begins
        anew, or was put back to an older state, must not say of a record that there is none.
        """

    async def page(self, query: Query, before_offset: int = 0, rows_max: int = 100) -> Page:
        """
        Return the newest records that fit, those older than *before_offset* unless it is 0.

        Looks at so many rows at most as the index was opened with, or a few more; a page that ends there has fewer
        items than asked for, or none, and a `before_offset` to go on from.
        """

    async def first_since(self, emitted_ns: int) -> int | None:
        """
        Return the lowest offset whose record was emitted at or after a time; None when there is none.
        """

    async def counts(self, day: str) -> Counts:
        """
        Count the rows, and those emitted on *day*, a UTC date as in a partition's name.
        """


@dataclass(frozen=True, slots=True)
class Index:
    """
    An open index. `engine` names it for the log, with its version.

    `shared` says that other OMENs can reach the database, so that what another ledger has left there is not ours.
    """

    projection: Projection
    lookup: Lookup
    engine: str
    shared: bool


@asynccontextmanager
async def open_index(url: str, *, looked_rows_max: int = LOOKED_ROWS_MAX) -> AsyncIterator[Index]:
    """
    Open the index at *url*: ``sqlite:///path`` or ``postgresql://…``. Create it or migrate it where needed.

    *looked_rows_max* is how many rows a page may look at when no index leads to those that are wanted. Raises
    `IndexLocked`, `IndexTooNew` and `IndexUrlUnknown` as well.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from omen_server.index.sqlite import open_sqlite  # noqa: PLC0415 - a driver is loaded where it is used.

        opened = open_sqlite(path_in(url, IndexUrlUnknown), looked_rows_max)
    elif scheme in ("postgresql", "postgres"):
        try:
            from omen_server.index.postgres import open_postgres  # noqa: PLC0415 - as above; asyncpg is an extra.
        except ImportError as error:
            raise IndexFailed(f"an index in PostgreSQL needs omen-dualpath[postgres]: {error}") from error
        opened = open_postgres(url, looked_rows_max)
    else:
        raise IndexUrlUnknown(scheme)
    async with opened as index:
        yield index


def merged(outcomes: Iterable[Outcome]) -> dict[int, Outcome]:
    """
    Return one outcome for each offset: the last of the strongest.
    """
    found: dict[int, Outcome] = {}
    for outcome in outcomes:
        before = found.get(outcome.offset)
        if before is None or outcome.strength >= before.strength:
            found[outcome.offset] = outcome
    return found
