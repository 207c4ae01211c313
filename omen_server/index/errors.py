"""
What can go wrong with an index. Nothing of it may hold up an append: the index is a projection, and catches up.
"""

from pathlib import Path
from typing import Final

from omen_storage.faults import Faults


class IndexFault(Exception):
    """
    The index could not do what it was asked.
    """


class IndexUnavailable(IndexFault):
    """
    Not now. Ask for the mark again and go on from there: nobody knows whether the last write was kept.
    """


class IndexFailed(IndexFault):
    """
    Retrying cannot help: the database is not what this version takes it for.
    """


class IndexDamaged(IndexFault):
    """
    The database is no database any more. Whoever owns the file sets it aside and begins anew.
    """


class IndexMoved(IndexUnavailable):
    """
    The index stands elsewhere than the writer believed. Nothing was written.
    """

    def __init__(self, found_offset: int, believed_offset: int) -> None:
        super().__init__(f"the index stands at offset {found_offset}, not at {believed_offset}")
        self.found_offset = found_offset
        self.believed_offset = believed_offset


class IndexFellBack(IndexUnavailable):
    """
    The index is not true any more up to where it was.
    """

    def __init__(self, found_offset: int, true_through: int) -> None:
        super().__init__(f"the index stands at offset {found_offset} and stood at {true_through}: it is made again")
        self.found_offset = found_offset
        self.true_through = true_through


class IndexOfAnother(IndexFailed):
    """
    The index is one of another ledger, and that ledger's OMEN may be using it.
    """

    def __init__(self, found_id: str, own_id: str) -> None:
        super().__init__(
            f"the index is that of ledger {found_id}, and this is ledger {own_id}; give each OMEN a database of its "
            "own, or, if nobody needs that index any more, take it over with omen index rebuild"
        )
        self.found_id = found_id
        self.own_id = own_id


class IndexLocked(IndexFailed):
    """
    Another process has this index open.
    """

    def __init__(self, place: Path | str, holder: int | None = None) -> None:
        super().__init__(f"{place} is open in another process (pid {holder or 'unknown'})")
        self.place = place
        self.holder = holder


class IndexTooNew(IndexFailed):
    """
    A later version has migrated this database.
    """

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the index has schema version {found}, this version knows {known} and none above it")
        self.found = found
        self.known = known


class IndexUrlUnknown(IndexFailed):
    """
    No engine goes by this URL. The URL itself is not repeated: it may hold a password.
    """

    def __init__(self, scheme: str) -> None:
        super().__init__(f"no index engine is called {scheme!r}: sqlite:///PATH and postgresql://… are known")
        self.scheme = scheme


FAULTS: Final = Faults(
    unavailable=IndexUnavailable,
    full=IndexUnavailable,
    damaged=IndexDamaged,
    failed=IndexFailed,
    locked=IndexLocked,
    too_new=IndexTooNew,
)
