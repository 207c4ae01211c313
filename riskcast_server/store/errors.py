"""
What can go wrong with a store. Two questions only: may the caller retry, and must this process stop?
"""

from pathlib import Path
from typing import Final

from omen_storage.faults import Faults


class StoreError(Exception):
    """
    The store could not do what it was asked.
    """


class StoreUnavailable(StoreError):
    """
    Not now. The caller may retry: whatever was stored meanwhile is answered as a duplicate.
    """


class StoreBusy(StoreUnavailable):
    """
    As much waits to be stored as may wait. Nothing of the call was taken.
    """

    def __init__(self, waiting_signals: int, waiting_bytes: int) -> None:
        super().__init__(f"{waiting_signals} signals ({waiting_bytes} bytes) wait to be stored already")
        self.waiting_signals = waiting_signals
        self.waiting_bytes = waiting_bytes


class StoreFull(StoreError):
    """
    The disk is full. Nothing of the call was stored; reading goes on, and storing does once there is room again.
    """


class StoreFailed(StoreError):
    """
    Retrying cannot help: the store is damaged, or is not what this version takes it for. The process must stop.
    """


class StoreLocked(StoreFailed):
    """
    Another server has this database open.
    """

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(f"{path} is open in another server (pid {holder or 'unknown'})")
        self.path = path
        self.holder = holder


class StoreTooNew(StoreFailed):
    """
    A later version has migrated this database.
    """

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the database has schema version {found}, this version knows {known} and none above it")
        self.found = found
        self.known = known


class StoreUrlUnknown(StoreFailed):
    """
    No engine goes by this URL.
    """

    def __init__(self, scheme: str) -> None:
        super().__init__(f"no store engine is called {scheme!r}: sqlite:///path and postgresql://… are known")
        self.scheme = scheme


FAULTS: Final = Faults(
    unavailable=StoreUnavailable,
    full=StoreFull,
    damaged=StoreFailed,
    failed=StoreFailed,
    locked=StoreLocked,
    too_new=StoreTooNew,
)
