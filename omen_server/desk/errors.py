"""
What can go wrong with the desk. Two questions only: may the caller retry, and must this process stop?
"""

from pathlib import Path
from typing import Final

from omen_storage.faults import Faults


class DeskError(Exception):
    """
    The desk could not do what it was asked.
    """


class DeskUnavailable(DeskError):
    """
    Not now. The caller may retry: what was kept meanwhile is kept once.
    """


class DeskBusy(DeskUnavailable):
    """
    As much waits to be written as may wait. Nothing of the call was taken.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} writes wait already")
        self.waiting = waiting


class DeskFull(DeskError):
    """
    The disk is full. Nothing of the call was kept; reading goes on.
    """

    def __init__(self, path: Path, free_bytes: int) -> None:
        super().__init__(f"The disk of {path} is full.")
        self.path = path
        self.free_bytes = free_bytes


class DeadLettersFull(DeskError):
    """
    There are as many dead letters as may be: somebody has to decide about them before more are taken.
    """

    def __init__(self, path: Path, dead_letters_max: int, free_bytes: int) -> None:
        super().__init__(f"There are {dead_letters_max} dead letters, and no room for another: requeue or purge some.")
        self.path = path
        self.dead_letters_max = dead_letters_max
        self.free_bytes = free_bytes


class DeadLetterNotFound(DeskError):
    """
    No dead letter has this id.
    """

    def __init__(self, dead_letter_id: str) -> None:
        super().__init__(f"There is no dead letter {dead_letter_id}.")
        self.dead_letter_id = dead_letter_id


class DeskFailed(DeskError):
    """
    Retrying cannot help: the file is damaged, or is not what this version takes it for.
    """


class DeskLocked(DeskFailed):
    """
    Another process has this database open.
    """

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(f"{path} is open in another server (pid {holder or 'unknown'})")
        self.path = path
        self.holder = holder


class DeskTooNew(DeskFailed):
    """
    A later version has migrated this database.
    """

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the desk has schema version {found}, this version knows {known} and none above it")
        self.found = found
        self.known = known


# With no room on the disk `DeskFull` is raised, where the path is known.
FAULTS: Final = Faults(
    unavailable=DeskUnavailable,
    full=DeskUnavailable,
    damaged=DeskFailed,
    failed=DeskFailed,
    locked=DeskLocked,
    too_new=DeskTooNew,
)
