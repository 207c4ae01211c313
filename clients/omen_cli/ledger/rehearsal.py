"""
A disk on which nothing happens: what a repair would change is kept beside the ledger's files and read from there.

The repair itself runs on it, the code that the next start of the server runs, so a dry run cannot be wrong about it.
"""

import os
import shutil
from pathlib import Path

from omen_server.ledger.durable import Disk


class Rehearsal(Disk):
    """
    Reads the real files until something changed them; changes go to files in *scratch*, which the caller owns.

    `changed` names every file that would be another one: its copy in *scratch*, or None where it would be gone.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._copies = 0
        self._made: set[str] = set()
        self.changed: dict[str, Path | None] = {}

    def names(self, path: str) -> list[str]:
        """
        See `Disk`.
        """
        found = set(super().names(path))
        for changed, copy in self.changed.items():
            parent, _, name = changed.rpartition("/")
            if parent == path:
                (found.add if copy is not None else found.discard)(name)
        return sorted(found | {made.rpartition("/")[2] for made in self._made if made.rpartition("/")[0] == path})

    def size(self, path: str) -> int | None:
        """
        See `Disk`.
        """
        if path not in self.changed:
            return super().size(path)
        copy = self.changed[path]
        return copy.stat().st_size if copy is not None else None

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """
        See `Disk`.
        """
        return super().read(str(self.changed.get(path) or path), start, length)

    def make_dir(self, path: str) -> None:
        """
        See `Disk`.
        """
        self._made.add(path)

    def open_dir(self, path: str) -> int:
        """
        See `Disk`.
        """
        return super().open_dir(str(self._scratch) if path in self._made else path)

    def open(self, path: str, *, create: bool) -> int:
        """
        See `Disk`.
        """
        copy = self.changed.get(path)
        if copy is None:
            before = path if path not in self.changed and super().size(path) is not None else None
            if before is None and not create:
                raise FileNotFoundError(path)
            self._copies += 1
            copy = self._scratch / str(self._copies)
            if before is not None:
                shutil.copyfile(before, copy)
            self.changed[path] = copy
        return super().open(str(copy), create=True)

    def sync_data(self, fd: int) -> None:
        """
        See `Disk`. What is thrown away needs no sync.
        """

    def sync(self, fd: int) -> None:
        """
        See `Disk`. What is thrown away needs no sync.
        """

    def rename(self, source: str, target: str) -> None:
        """
        See `Disk`.
        """
        os.close(self.open(source, create=False))
        self.changed[target] = self.changed[source]
        self.unlink(source)

    def unlink(self, path: str) -> None:
        """
        See `Disk`.
        """
        self.changed.pop(path, None)
        if super().size(path) is not None:
            self.changed[path] = None

    def remove_dir(self, path: str) -> None:
        """
        See `Disk`.
        """
        self._made.discard(path)

    def protect(self, path: str) -> None:
        """
        See `Disk`. Permissions are marks for people, and nothing is decided by them.
        """
