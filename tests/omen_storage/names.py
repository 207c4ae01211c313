"""
A store's names for what can go wrong, for tests of what all stores share.
"""

from pathlib import Path

from omen_storage.faults import Faults


class Unavailable(Exception):
    """
    Not now.
    """


class Full(Exception):
    """
    No room.
    """


class Damaged(Exception):
    """
    No database any more.
    """


class Failed(Exception):
    """
    Retrying cannot help.
    """


class Locked(Exception):
    """
    Another process has it.
    """

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(path, holder)
        self.path = path
        self.holder = holder


class TooNew(Exception):
    """
    A later version has been here.
    """

    def __init__(self, found: int, known: int) -> None:
        super().__init__(found, known)
        self.found = found
        self.known = known


FAULTS = Faults(unavailable=Unavailable, full=Full, damaged=Damaged, failed=Failed, locked=Locked, too_new=TooNew)
