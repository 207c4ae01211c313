"""
A disk in memory that keeps apart what a program sees and what a power cut leaves.

It stands in the place of `Disk`, below every line of the ledger's own durability code, and is deliberately meaner than
any file system: a synced file whose name was never synced is gone, and unsynced changes persist in any combination.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from omen_server.ledger.durable import Disk

# Directories have negative numbers, files positive ones; this is the directory that holds everything.
TOP = -1


@dataclass(frozen=True, slots=True)
class Inode:
    """
    A file's bytes: `durable` survives a power cut, `cache` is what a read shows, `pending` lies between them.

    A pending change is a place and bytes, or a size to cut to and None.
    """

    durable: bytes = b""
    cache: bytes = b""
    pending: tuple[tuple[int, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class NameChange:
    """
    A change of names that no sync of its directory has covered: a name gets an inode, and perhaps another one loses it.
    """

    directories: tuple[int, ...]
    gained: tuple[int, str, int] | None
    lost: tuple[int, str] | None


Tree = dict[int, dict[str, int]]
# What a power cut left: every directory, and every file with its bytes.
Image = dict[str, bytes | None]


@dataclass(slots=True)
class State:
    """
    Everything there is to know about the disk at one moment.
    """

    inodes: dict[int, Inode]
    seen: Tree
    durable: Tree
    pending: tuple[NameChange, ...]

    def copy(self) -> "State":
        """
        Return a state that later changes do not touch.
        """
        seen = {directory: dict(names) for directory, names in self.seen.items()}
        durable = {directory: dict(names) for directory, names in self.durable.items()}
        return State(dict(self.inodes), seen, durable, self.pending)


@dataclass(slots=True)
class Faults:
    """
    What goes wrong: from the *at*-th call of the named kind on, once or for ever. Counts its calls in any case.
    """

    kind: str = ""
    at: int = 0
    error: int = 0
    forever: bool = False
    short: bool = False
    calls: int = 0

    def strikes(self, kind: str) -> bool:
        """
        Count one call and tell whether it goes wrong.
        """
        if self.kind not in {kind, "any"}:
            return False
        self.calls += 1
        return self.calls == self.at or (self.forever and self.calls > self.at)


@dataclass(slots=True)
class SimulatedDisk(Disk):
    """
    The disk. `before_change` is called ahead of every change: that is where a crash may happen.
    """

    state: State = field(default_factory=lambda: State({}, {TOP: {}}, {TOP: {}}, ()))
    before_change: Callable[[], None] = lambda: None
    faults: Faults = field(default_factory=Faults)
    free: int = 1 << 40
    syncs: int = 0
    _descriptors: dict[int, int] = field(default_factory=dict)
    _found: dict[str, int] = field(default_factory=dict)
    _next: int = 1

    @classmethod
    def holding(cls, image: Image) -> "SimulatedDisk":
        """
        Return a disk that begins with what a power cut left.
        """
        disk = cls()
        seen = disk.state.seen
        for path, content in sorted(image.items()):
            parent, name = disk._place(path)
            seen[parent][name] = disk._new_directory() if content is None else disk._new(content)
            disk._found.clear()
        disk.state.durable = {directory: dict(entries) for directory, entries in seen.items()}
        return disk

    def names(self, path: str) -> list[str]:
        """
        See `Disk`.
        """
        return sorted(self.state.seen[found]) if (found := self._find(path)) < 0 else []

    def size(self, path: str) -> int | None:
        """
        See `Disk`.
        """
        inode = self._find(path)
        return len(self.state.inodes[inode].cache) if inode > 0 else None if inode == 0 else 0

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """
        See `Disk`.
        """
        inode = self._find(path)
        if inode <= 0:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        cache = self.state.inodes[inode].cache
        if start == 0 and length is None:
            return cache
        return cache[start : None if length is None else start + length]

    def make_dir(self, path: str) -> None:
        """
        See `Disk`.
        """
        self._change("make_dir")
        parent, name = self._place(path)
        if name in self.state.seen[parent]:
            raise FileExistsError(errno.EEXIST, "Exists", path)
        self._change_names(NameChange((parent,), (parent, name, self._new_directory()), None))

    def open_dir(self, path: str) -> int:
        """
        See `Disk`.
        """
        directory = self._find(path)
        if directory >= 0:
            raise FileNotFoundError(errno.ENOENT, "No such directory", path)
        return self._describe(directory)

    def open(self, path: str, *, create: bool) -> int:
        """
        See `Disk`.
        """
        inode = self._find(path)
        if inode == 0:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "No such file", path)
            self._change("open")
            parent, name = self._place(path)
            inode = self._new(b"")
            self._change_names(NameChange((parent,), (parent, name, inode), None))
        return self._describe(inode)

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """
        See `Disk`.
        """
        failed: OSError | None = None
        short = False
        try:
            short = self._change("write")
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            failed = error
        # A disk that fills up has taken a part of what it then refuses.
        piece = bytes(data[: max(1, len(data) // 2)] if short or failed is not None else data)
        inode = self._descriptors[fd]
        content = self.state.inodes[inode]
        cache = content.cache.ljust(at, b"\0")
        cache = cache[:at] + piece + cache[at + len(piece) :]
        self.state.inodes[inode] = replace(content, cache=cache, pending=(*content.pending, (at, piece)))
        if failed is not None:
            raise failed
        return len(piece)

    def truncate(self, fd: int, size: int) -> None:
        """
        See `Disk`.
        """
        inode = self._descriptors[fd]
        content = self.state.inodes[inode]
        if len(content.cache) == size:
            return
        self._change("truncate")
        cache = content.cache[:size].ljust(size, b"\0")
        self.state.inodes[inode] = replace(content, cache=cache, pending=(*content.pending, (size, None)))

    def allocate(self, fd: int, size: int) -> None:
        """
        See `Disk`. The ballast holds nothing that a crash could take.
        """

    def sync_data(self, fd: int) -> None:
        """
        See `Disk`.
        """
        self.sync(fd)

    def sync(self, fd: int) -> None:
        """
        See `Disk`. One that fails drops what was pending, as Linux does: reads still show it, the disk never gets it.
        """
        what = self._descriptors[fd]
        failed: OSError | None = None
        try:
            self._change("sync")
        except OSError as error:
            failed = error
        self.syncs += 1
        if what < 0:
            if failed is None:
                self._settle_names(what)
        else:
            content = self.state.inodes[what]
            durable = content.durable if failed is not None else applied(content.durable, content.pending)
            self.state.inodes[what] = replace(content, durable=durable, pending=())
        if failed is not None:
            raise failed

    def close(self, fd: int) -> None:
        """
        See `Disk`.
        """
        del self._descriptors[fd]

    def rename(self, source: str, target: str) -> None:
        """
        See `Disk`.
        """
        self._change("rename")
        (source_parent, source_name), (target_parent, target_name) = self._place(source), self._place(target)
        moved = self.state.seen[source_parent][source_name]
        directories = (source_parent, target_parent)
        self._change_names(NameChange(directories, (target_parent, target_name, moved), (source_parent, source_name)))

    def unlink(self, path: str) -> None:
        """
        See `Disk`.
        """
        if self._find(path):
            self._change("unlink")
            place = self._place(path)
            self._change_names(NameChange((place[0],), None, place))

    def remove_dir(self, path: str) -> None:
        """
        See `Disk`.
        """
        self.unlink(path)

    def protect(self, path: str) -> None:
        """
        See `Disk`. Permissions decide nothing.
        """

    def free_bytes(self, path: str) -> int:
        """
        See `Disk`.
        """
        _ = path
        return self.free

    def _change(self, kind: str) -> bool:
        """
        Announce a change, and fail it when that is what the test wants; tell whether a write is to be short.
        """
        self.before_change()
        if self.faults.strikes(kind):
            if self.faults.short:
                return True
            raise OSError(self.faults.error, "Injected")
        return False

    def _find(self, path: str) -> int:
        """
        Return a directory's or a file's number; 0 when nothing has this name.
        """
        known = self._found.get(path)
        if known is None:
            known, seen = TOP, self.state.seen
            for name in path.split("/")[1:]:
                known = seen.get(known, {}).get(name, 0)
            self._found[path] = known
        return known

    def _place(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        directory = self._find(parent)
        if directory >= 0:
            raise FileNotFoundError(errno.ENOENT, "No such directory", parent)
        return directory, name

    def _new(self, content: bytes) -> int:
        inode = len(self.state.inodes) + 1
        self.state.inodes[inode] = Inode(content, content)
        return inode

    def _new_directory(self) -> int:
        directory = -len(self.state.seen) - 1
        self.state.seen[directory] = {}
        return directory

    def _describe(self, what: int) -> int:
        self._next += 1
        self._descriptors[self._next] = what
        return self._next

    def _change_names(self, change: NameChange) -> None:
        self._found.clear()
        change_names(self.state.seen, change)
        self.state.pending = (*self.state.pending, change)

    def _settle_names(self, directory: int) -> None:
        rest: list[NameChange] = []
        for change in self.state.pending:
            if directory in change.directories:
                change_names(self.state.durable, change)
            else:
                rest.append(change)
        self.state.pending = tuple(rest)


def applied(durable: bytes, pending: tuple[tuple[int, bytes | None], ...]) -> bytes:
    """
    Return a file's bytes after all of its pending changes.
    """
    for at, data in pending:
        if data is None:
            durable = durable[:at].ljust(at, b"\0")
        else:
            durable = durable.ljust(at, b"\0")
            durable = durable[:at] + data + durable[at + len(data) :]
    return durable


def change_names(tree: Tree, change: NameChange) -> None:
    """
    Give and take the names in *tree* as *change* says.
    """
    if change.lost is not None:
        tree.setdefault(change.lost[0], {}).pop(change.lost[1], None)
    if change.gained is not None:
        tree.setdefault(change.gained[0], {})[change.gained[1]] = change.gained[2]
