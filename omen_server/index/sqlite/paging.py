"""
A page of the index, newest first: one step in a reader's thread, and one snapshot.

The offsets are gone through in windows, downwards. Each has an index that serves it, named in the statement: this
database is never analysed, and its planner would have to guess.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zlib import crc32

from omen_server.index import Known, Page, Query
from omen_storage.sqlite.connection import transaction

KNOWN: Final = """ledger_offset, ledger_partition, ledger_index, signal_id, input_event_hash, content_digest, status,
    ack_id"""

_BUCKET_BITS: Final = 14  # As in the schema.
_FIRST_SINCE: Final = """
SELECT ledger_offset FROM omen_signals WHERE latest_ns >= ? ORDER BY latest_ns, ledger_offset LIMIT 1"""
# A partition is named for the UTC date of what it holds, so none behind that date holds anything emitted by then.
_LAST_BY: Final = "SELECT max(last_offset) FROM omen_signal_partitions WHERE ledger_partition <= ?"


@dataclass(frozen=True, slots=True)
class Way:
    """
    How a query goes through a window: the index it takes, and the conditions that the rows must pass there.
    """

    index: str
    keyed: bool
    driver: str
    driver_values: tuple[object, ...]
    sieve: str
    sieve_values: tuple[object, ...]


def page(connection: sqlite3.Connection, query: Query, before_offset: int, rows_max: int, looked_max: int) -> Page:
    """
    See `Lookup.page`.
    """
    found: list[Known] = []
    looked = 0
    with transaction(connection, "DEFERRED"):
        low, high = _bounds(connection, query, before_offset)
        way = _way_of(query)
        while low < high and (looked < looked_max or not query.sifts):
            top = _top(connection, way, high)
            bottom = max(low, top - looked_max + 1)
            found += _window(connection, way, bottom, top, rows_max + 1 - len(found))
            if len(found) > rows_max:
                return Page(found[:rows_max], found[rows_max - 1].offset)
            looked += _count(connection, way, bottom, top) if way.keyed and query.sifts else top - bottom + 1
            high = bottom
    return Page(found, high if high > low else 0)


def key_of(text: str) -> int:
    """
    Return the short key that a text is looked up by.
    """
    return crc32(text.encode())


def first_since(connection: sqlite3.Connection, emitted_ns: int) -> int | None:
    """
    See `Lookup.first_since`.
    """
    row = connection.execute(_FIRST_SINCE, (emitted_ns,)).fetchone()
    return int(row[0]) if row else None


def _bounds(connection: sqlite3.Connection, query: Query, before_offset: int) -> tuple[int, int]:
    """
    Return the first offset that can fit and the first one behind all that can.
    """
    low, high = 1, before_offset or (1 << 62)
    if query.emitted_from_ns is not None:
        low = first_since(connection, query.emitted_from_ns) or high
    if query.emitted_through_ns is not None:
        day = datetime.fromtimestamp(query.emitted_through_ns // 1_000_000_000, UTC).date().isoformat()
        (last,) = connection.execute(_LAST_BY, (f"{day}-late",)).fetchone()
        high = min(high, (last or 0) + 1)
    return low, high


def _way_of(query: Query) -> Way:
    keys: list[tuple[str, str, str, Sequence[str]]] = []
    if query.trace_ids:
        keys.append(("trace_id", "trace_key", "trace_id", query.trace_ids))
    if query.input_event_hash:
        keys.append(("input", "input_key", "input_event_hash", (query.input_event_hash,)))
    if query.source_event_id:
        keys.append(("source", "source_key", "source_event_id", (query.source_event_id,)))
    sieve: list[tuple[str, Sequence[object]]] = [
        (f"{column} IN ({_marks(texts)})", texts) for _, _, column, texts in keys
    ]
    if query.partition and keys:
        sieve.append(("ledger_partition = ?", (query.partition,)))
    sieve += _plain_conditions(query)
    values = tuple(value for _, parameters in sieve for value in parameters)
    text = "".join(f" AND {condition}" for condition, _ in sieve)
    if keys:
        name, short, _, texts = keys[0]
        driver, hashes = f" AND {short} IN ({_marks(texts)})", tuple(map(key_of, texts))
        return Way(f"INDEXED BY omen_signals_by_{name}", True, driver, hashes, text, values)
    if query.partition:
        index = "INDEXED BY omen_signals_by_partition"
        return Way(index, False, " AND ledger_partition = ?", (query.partition,), text, values)
    return Way("NOT INDEXED", False, "", (), text, values)


def _plain_conditions(query: Query) -> list[tuple[str, Sequence[object]]]:
    """
    Return the conditions that no index serves.
    """
    conditions: list[tuple[str, Sequence[object]]] = []
    if query.emitted_from_ns is not None:
        conditions.append(("emitted_ns >= ?", (query.emitted_from_ns,)))
    if query.emitted_through_ns is not None:
        conditions.append(("emitted_ns <= ?", (query.emitted_through_ns,)))
    if query.categories:
        conditions.append((f"category IN ({_marks(query.categories)})", query.categories))
    # Unlike LIKE, instr knows no wildcards and takes the words as they are.
    conditions += [("instr(title, ?) > 0", (word,)) for word in query.words]
    return conditions


def _top(connection: sqlite3.Connection, way: Way, high: int) -> int:
    """
    Return the newest offset below *high* that a window can begin with; 0 when there is none. Gaps are leapt over.
    """
    driver, values = ("", ()) if way.keyed else (way.driver, way.driver_values)
    index = "NOT INDEXED" if way.keyed else way.index
    sql = f"SELECT max(ledger_offset) FROM omen_signals {index} WHERE ledger_offset < ?{driver}"  # noqa: S608 - no value.
    (top,) = connection.execute(sql, (high, *values)).fetchone()
    return int(top or 0)


def _window(connection: sqlite3.Connection, way: Way, bottom: int, top: int, rows_max: int) -> list[Known]:
    where, values = _within(way, bottom, top)
    sql = f"SELECT {KNOWN} FROM omen_signals {way.index} WHERE {where}{way.sieve} ORDER BY ledger_offset DESC LIMIT ?"  # noqa: S608 - no value.
    return [Known(*row) for row in connection.execute(sql, (*values, *way.sieve_values, rows_max))]


def _count(connection: sqlite3.Connection, way: Way, bottom: int, top: int) -> int:
    where, values = _within(way, bottom, top)
    (count,) = connection.execute(f"SELECT count(*) FROM omen_signals {way.index} WHERE {where}", values).fetchone()  # noqa: S608 - no value.
    return int(count)


def _within(way: Way, bottom: int, top: int) -> tuple[str, tuple[object, ...]]:
    where, values = f"ledger_offset BETWEEN ? AND ?{way.driver}", (bottom, top, *way.driver_values)
    if not way.keyed:
        return where, values
    buckets = range(bottom >> _BUCKET_BITS, (top >> _BUCKET_BITS) + 1)
    return f"ledger_offset >> {_BUCKET_BITS} IN ({', '.join(map(str, buckets))}) AND {where}", values


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
