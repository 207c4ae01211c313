"""
What can go wrong with any database. Each store has its own names for it, and its callers know those only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

# Made from what the driver says, in words without values.
Told: TypeAlias = Callable[[str], Exception]


@dataclass(frozen=True, slots=True)
class Faults:
    """
    A store's names. Two may be the same: who draws no difference has one.

    `unavailable` may be retried; `full` has no room on the disk; `damaged` is no database any more; `failed` is what
    retrying cannot help. `locked` is made from the path and the holder's pid, where that is known, and `too_new` from
    the version found and the last one known.
    """

    unavailable: Told
    full: Told
    damaged: Told
    failed: Told
    locked: Callable[[Path, int | None], Exception]
    too_new: Callable[[int, int], Exception]
