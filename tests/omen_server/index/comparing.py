"""
An index held against the ledger that it is to be a projection of: every row, every column.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import asyncpg

from omen_rpc.position import Position
from omen_server.index.row import Row, rows_of
from omen_server.ledger.ledger import Ledger
from omen_server.records import entry_of
from omen_server.tail import Committed, Tail, stamped
from tests.ledgers import event

_COLUMNS = {"offset": "ledger_offset", "partition": "ledger_partition"}
_NAMES = ", ".join(_COLUMNS.get(each.name, each.name) for each in fields(Row))
SELECT = f"SELECT {_NAMES} FROM omen_signals ORDER BY 1"  # noqa: S608 - the columns' own names.


async def append(ledger: Ledger, numbers: Iterable[int], tail: Tail | None = None) -> list[Position]:
    """
    Append signals, and offer them to *tail*, as intake does.
    """
    events = [event(number) for number in numbers]
    entries = [entry_of(each, "json") for each in events]
    positions = await ledger.append(entries)
    if tail is not None:
        tail.offer(stamped(*parts) for parts in zip(events, [each.record for each in entries], positions, strict=True))
    return positions


async def rows_of_ledger(ledger: Ledger) -> list[Row]:
    """
    Return what the index should hold.
    """
    items = [item async for batch in Tail(ledger).read(0) for item in batch]
    return rows_of(item for item in items if isinstance(item, Committed))


async def rows_at(url: str) -> list[Row]:
    """
    Return what the index at *url* holds, read past the engine.
    """
    if not url.startswith("sqlite"):
        connection = await asyncpg.connect(url)
        try:
            return [Row(*row) for row in await connection.fetch(SELECT)]
        finally:
            await connection.close()
    with closing(sqlite3.connect(Path(url.removeprefix("sqlite:///")))) as database:
        return [Row(*row) for row in database.execute(SELECT)]
