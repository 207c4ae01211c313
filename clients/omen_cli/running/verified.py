"""
When a ledger was last verified as a whole: a note beside it in its data directory, for banners and checks to tell.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NOTE = "verified.json"
NOTE_BYTES_MAX = 4096
OURS = "desk.db"  # Only a server's data directory has one: nothing is written beside a copy that somebody looks at.


def last_verified(data_dir: Path) -> Mapping[str, Any] | None:
    """
    Return when everything was verified and what came of it; None when never, or nobody knows.
    """
    with suppress(OSError, ValueError):
        with (data_dir / NOTE).open("rb") as file:
            row = json.loads(file.read(NOTE_BYTES_MAX))
        if isinstance(row, dict) and isinstance(row.get("at"), str) and isinstance(row.get("intact"), bool):
            return row
    return None


def note_verified(ledger: Path, *, intact: bool, partitions: int, records: int) -> None:
    """
    Note that all of *ledger* has just been verified, if it lies in a data directory and there is room.
    """
    data_dir = ledger.parent
    if not (data_dir / OURS).exists():
        return
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    fresh = data_dir / f"{NOTE}.new"
    with suppress(OSError):
        fresh.write_text(json.dumps({"at": at, "intact": intact, "partitions": partitions, "records": records}) + "\n")
        fresh.replace(data_dir / NOTE)
