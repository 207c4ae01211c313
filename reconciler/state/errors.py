"""
What can go wrong with the state. Two questions only: may the caller retry, and must this process stop?
"""

from pathlib import Path
from typing import Final

from omen_storage.faults import Faults


class StateError(Exception):
    """
    The state could not do what it was asked.
    """


class StateUnavailable(StateError):
    """
    Not now. The caller may retry: nobody knows whether the last change was kept, and making it again harms nothing.
    """


class StateFailed(StateError):
    """
    Retrying cannot help: the database is damaged, or is not what this version takes it for.
    """


class StateLocked(StateFailed):
    """
    Another reconciler has this database open.
    """

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(f"{path} is open in another reconciler (pid {holder or 'unknown'})")
        self.path = path
        self.holder = holder


class StateTooNew(StateFailed):
    """
    A later version has migrated this database.
    """

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the state has schema version {found}, this version knows {known} and none above it")
        self.found = found
        self.known = known


class StateUrlUnknown(StateFailed):
    """
    No engine goes by this URL. The URL itself is not repeated: it may hold a password.
    """

    def __init__(self, scheme: str) -> None:
        super().__init__(f"no state engine is called {scheme!r}: sqlite:///PATH and postgresql://… are known")
        self.scheme = scheme


FAULTS: Final = Faults(
    unavailable=StateUnavailable,
    full=StateUnavailable,
    damaged=StateFailed,
    failed=StateFailed,
    locked=StateLocked,
    too_new=StateTooNew,
)
