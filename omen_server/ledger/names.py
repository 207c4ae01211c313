"""
What files and partitions are called, and nothing about what is in them.
"""

import re
from datetime import UTC, date, datetime

from .errors import NaiveTime

IDENTITY = "_LEDGER.json"
LOCK = "_LOCK"
BALLAST = "_BALLAST"
QUARANTINE = "_quarantine"
ARCHIVE = "_archive"
CURRENT = "_CURRENT"
SEALED = "_SEALED"
MANIFEST = "_manifest.json"
GAPS = "_gaps.json"
RECONCILED = "_reconciled.json"
TOMBSTONE = "_tombstone.json"
BLOCKS = "_blocks"
LATE = "-late"
COMPRESSED = ".gz"

_PARTITION = re.compile(r"(\d{4}-\d{2}-\d{2})(-late)?")
_SEGMENT = re.compile(r"signals-(\d{3,})\.wal(\.gz)?")
_MANIFEST_REVISION = re.compile(r"_manifest-(\d{3,})\.json")


def day_of(emitted_at: datetime) -> str:
    """
    Return the name of the partition that takes records of this moment.
    """
    if emitted_at.utcoffset() is None:
        raise NaiveTime(emitted_at)
    return emitted_at.astimezone(UTC).date().isoformat()


def late_of(day: str) -> str:
    """
    Return the name of the partition for what arrives after the day was sealed.
    """
    return day + LATE


def is_late(partition: str) -> bool:
    """
    Tell whether a partition is for late arrivals.
    """
    return partition.endswith(LATE)


def date_of(partition: str) -> date:
    """
    Return the UTC date that a partition is for.
    """
    return date.fromisoformat(partition.removesuffix(LATE))


def is_partition(name: str) -> bool:
    """
    Tell whether *name* names a partition: a real date, perhaps a late one. Nothing else is ever joined to a path.
    """
    found = _PARTITION.fullmatch(name)
    if not found or not name.isascii():
        return False
    try:
        date.fromisoformat(found[1])
    except ValueError:
        return False
    return True


def segment_name(ordinal: int) -> str:
    """
    Return the file name of the n-th segment.
    """
    return f"signals-{ordinal:03d}.wal"


def segment_ordinal(name: str) -> int | None:
    """
    Return which segment a file is, or None. Six digits are read too, and order is by number.
    """
    found = _SEGMENT.fullmatch(name)
    return int(found[1]) if found and int(found[1]) > 0 else None


def manifest_name(revision: int) -> str:
    """
    Return the name under which one revision of the manifest is kept for ever.
    """
    return f"_manifest-{revision:03d}.json"


def manifest_revision(name: str) -> int | None:
    """
    Return which revision of the manifest a file keeps, or None.
    """
    found = _MANIFEST_REVISION.fullmatch(name)
    return int(found[1]) if found else None
