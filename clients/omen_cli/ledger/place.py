"""
Where a ledger lies, and what becomes of its refusals. Only this package and `bench` import the engine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from omen_cli import exits
from omen_server.ledger import errors
from omen_server.ledger.durable import Disk
from omen_server.ledger.identity import read_identity
from omen_server.ledger.lock import holder, is_locked
from omen_server.ledger.names import IDENTITY
from omen_server.ledger.offline import OfflineLedger
from omen_server.records import SIGNALS

Directory = Annotated[Path, Parameter(help="The ledger's directory, or the data directory with the ledger in it.")]
Partition = Annotated[str, Parameter(help="The partition's name: a UTC date, with -late for late arrivals.")]

# What each refusal ends with, looked up by class; whatever else the ledger says no with is a problem of the ledger.
CODES: dict[type[errors.LedgerError], int] = {
    errors.NotALedger: exits.USAGE,
    errors.PartitionNotFound: exits.NOT_FOUND,
    errors.RecordNotFound: exits.NOT_FOUND,
    errors.LedgerLocked: exits.CONFLICT,
    errors.LedgerFull: exits.UNREACHABLE,
}
REMEDIES: dict[type[errors.LedgerError], str] = {
    errors.NotALedger: "Give a directory with a _LEDGER.json, or one whose `ledger` has it.",
    errors.PartitionNotFound: "omen ledger partitions DIR lists them.",
    errors.RecordNotFound: "omen ledger cat DIR PARTITION shows what is there; only sealed partitions prove anything.",
    errors.LedgerLocked: "Stop that process first; reading tools work beside it.",
    errors.LedgerFull: "Free some space and run it again.",
}
DAMAGED_IDENTITY = "Put _LEDGER.json back from a backup of this very ledger, or restore the backup elsewhere."
DAMAGED = "Keep the directory as it is and run omen ledger verify on it."


@contextmanager
def opened(directory: Path) -> Iterator[OfflineLedger]:
    """
    Read the ledger at *directory*, and end the verb in words when it refuses.
    """
    with refusals():
        yield OfflineLedger(find(directory), SIGNALS)


def find(directory: Path) -> Path:
    """
    Return the ledger's own directory, from it or from the data directory around it.
    """
    for place in (directory, directory / "ledger"):
        if (place / IDENTITY).exists():
            return _checked(place.absolute())
    if not directory.exists():
        raise exits.Stopped(exits.NOT_FOUND, "NO_SUCH_DIRECTORY", f"there is no {directory}", "Check the path.")
    raise errors.NotALedger(str(directory), f"it has no {IDENTITY}")


def _checked(root: Path) -> Path:
    """
    Return *root* when its identity can be read. When it cannot, this was a ledger, and something happened to it.
    """
    try:
        read_identity(Disk(), str(root))
    except errors.NotALedger as error:
        raise exits.Stopped(exits.PROBLEM, "LEDGER_DAMAGED", f"{error}", DAMAGED_IDENTITY) from error
    return root


@contextmanager
def refusals() -> Iterator[None]:
    """
    Turn what the ledger and the OS say no with into an exit code and a remedy.
    """
    try:
        yield
    except errors.LedgerError as error:
        kind = type(error)
        code, remedy = CODES.get(kind, exits.PROBLEM), REMEDIES.get(kind, DAMAGED)
        raise exits.Stopped(code, _reason(kind), str(error), remedy) from error
    except BrokenPipeError:
        raise
    except PermissionError as error:
        raise exits.Stopped(exits.NOT_ALLOWED, "NOT_ALLOWED", str(error), "Run it as the ledger's owner.") from error
    except FileNotFoundError as error:
        # Beside a server the lifecycle may move or delete a partition between listing and reading it.
        remedy = "The ledger has changed; run it again."
        raise exits.Stopped(exits.NOT_FOUND, "FILE_GONE", str(error), remedy) from error
    except OSError as error:
        raise exits.Stopped(exits.PROBLEM, "DISK_FAILED", str(error), "See what the system's log says.") from error


def check_unlocked(root: Path) -> None:
    """
    Refuse to go on while some process writes the ledger.
    """
    if is_locked(str(root)):
        raise errors.LedgerLocked(str(root), writer(root))


def writer(root: Path) -> int | None:
    """
    Return the id of the process that writes the ledger, as far as it left one.
    """
    return holder(Disk(), str(root))


def _reason(kind: type[errors.LedgerError]) -> str:
    """
    Return the class's name as reasons are written: NotALedger is NOT_A_LEDGER.
    """
    return "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in kind.__name__).lstrip("_")
