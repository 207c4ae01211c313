"""
What an ephemeral `omen up` that was killed leaves behind: servers, and data in a directory that nobody will name again.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from omen_cli import exits
from omen_cli.running.claim import claimed, end_left_behind, read

EPHEMERAL = "omen-ephemeral-"


async def end_abandoned(temporary: Path) -> list[str]:
    """
    End the servers and remove the data of every ephemeral `omen up` that is gone, and return the directories.
    """
    ended = []
    for directory in abandoned(temporary):
        with suppress(exits.Stopped):  # It runs, or another one takes it away just now.
            with claimed(directory):
                await end_left_behind(directory)
                shutil.rmtree(directory, ignore_errors=True)
            ended.append(str(directory))
    return ended


def abandoned(temporary: Path) -> list[Path]:
    """
    Return the directories of ephemeral servers that nobody runs any more.
    """
    return [each for each in sorted(temporary.glob(f"{EPHEMERAL}*")) if is_abandoned(each)]


def is_abandoned(directory: Path) -> bool:
    """
    Tell whether an `omen up` of this user ran here; it does still if the place is held. Anybody may make a directory of
    such a name, and put into its file what is not to be ended.
    """
    try:
        found = directory.lstat()
    except OSError:
        return False
    mine = found.st_uid == os.getuid() and not directory.is_symlink()
    return mine and bool(read(directory))
