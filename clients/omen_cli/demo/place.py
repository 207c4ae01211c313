"""
A demonstration's own directory: nothing else is ever written to, or removed.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omen_cli import exits
from omen_cli.ledger.place import check_unlocked, refusals
from omen_cli.running.claim import claimed
from omen_server.ledger.names import IDENTITY

MARKER = "_OMEN_DEMO.json"
REMEDY = "Give a directory that does not exist yet, or is empty."


def made(directory: str, what: Mapping[str, Any]) -> Path:
    """
    Return a directory for a demonstration, emptied when an earlier one made it; `temp` is one that nobody has had.

    Stopped when there is anything in it that no demonstration of this kind has made.
    """
    with refusals():
        place = Path(tempfile.mkdtemp(prefix="omen-demo-")) if directory == "temp" else Path(directory).absolute()
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise exits.Stopped(exits.USAGE, "NOT_A_DIRECTORY", f"{place} is no directory of its own", REMEDY)
        ours = directory == "temp" or not place.exists()
        if place.is_dir() and any(place.iterdir()):
            earlier = marker(place)
            if earlier.get("kind") != what["kind"]:
                text = f"{place} holds a demonstration of another kind"
                raise exits.Stopped(exits.CONFLICT, "NOT_OF_THIS_DEMO", text, REMEDY)
            ours = bool(earlier.get("ours"))
            clear(place)
        place.mkdir(parents=True, exist_ok=True)
        (place / MARKER).write_text(json.dumps({**what, "ours": ours, "inode": place.stat().st_ino}))
    return place


def marker(place: Path) -> dict[str, Any]:
    """
    Return what the demonstration that made a directory has written down; Stopped when none has.

    A marker that was copied elsewhere, with everything beside it, says nothing about that place.
    """
    file = place / MARKER
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        found = None
    except ValueError as error:
        raise exits.Stopped(exits.CONFLICT, "NOT_OF_THIS_DEMO", f"{file} cannot be read: {error}", REMEDY) from error
    if not isinstance(found, dict) or found.get("inode") != place.stat().st_ino:
        text = f"{place} was not made by omen demo"
        raise exits.Stopped(exits.CONFLICT, "NOT_OF_THIS_DEMO", text, REMEDY)
    return found


def clear(place: Path) -> None:
    """
    Remove what lies in a demonstration's directory, the marker last; refused while servers run on it.
    """
    marker(place)
    with claimed(place):
        for ledger in (place / "ledger", *place.glob("*/ledger")):
            if (ledger / IDENTITY).exists():
                with refusals():
                    check_unlocked(ledger)
        for each in sorted(place.iterdir(), key=lambda path: path.name == MARKER):
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()


def remove(place: Path) -> None:
    """
    Remove what lies in a demonstration's directory, and the directory as well unless it was there before.
    """
    ours = marker(place).get("ours")
    clear(place)
    if ours:
        place.rmdir()
