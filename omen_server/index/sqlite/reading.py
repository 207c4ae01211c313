"""
The short questions to the index. Each is one snapshot, and one step in a reader's thread.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from omen_server.index import Counts, Known, Wanted
from omen_server.index.errors import IndexFellBack
from omen_server.index.sqlite.paging import KNOWN
from omen_storage.sqlite.connection import transaction

_FIND: Final = f"""
SELECT wanted.key, {KNOWN} FROM json_each(?) AS wanted JOIN omen_signals ON ledger_offset = (
    SELECT ledger_offset FROM omen_signals
    WHERE signal_id = json_extract(wanted.value, '$[0]')
      AND json_extract(wanted.value, '$[1]') IN ('', input_event_hash)
      AND json_extract(wanted.value, '$[2]') IN ('', content_digest)
      AND ledger_offset > json_extract(wanted.value, '$[3]')
    ORDER BY ledger_offset LIMIT 1
)"""  # noqa: S608 - the columns stand above.
_STANDS: Final = "SELECT coalesce(max(ledger_offset), 0) FROM omen_index"
_COUNTS: Final = """
SELECT coalesce(sum(row_count), 0),
       coalesce(sum(row_count) FILTER (WHERE ledger_partition IN (?1, ?1 || '-late')), 0)
FROM omen_signal_partitions"""


def find(connection: sqlite3.Connection, wanted: Sequence[Wanted], true_through: int) -> list[Known | None]:
    """
    See `Lookup.find`.
    """
    found: list[Known | None] = [None] * len(wanted)
    asked = json.dumps(
        [(each.signal_id, each.input_event_hash, each.content_digest, each.after_offset) for each in wanted]
    )
    with transaction(connection, "DEFERRED"):
        (stands,) = connection.execute(_STANDS).fetchone()
        if stands < true_through:
            raise IndexFellBack(stands, true_through)
        for place, *known in connection.execute(_FIND, (asked,)):
            found[place] = Known(*known)
    return found


def counts(connection: sqlite3.Connection, day: str) -> Counts:
    """
    See `Lookup.counts`.
    """
    return Counts(*connection.execute(_COUNTS, (day,)).fetchone())
