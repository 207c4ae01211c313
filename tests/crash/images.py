"""
What a simulated disk holds after a power cut, or after the kill of its program.

Nothing here is random but what is drawn from the given `Random`: the same seed leaves the same images.
"""

import itertools
from collections.abc import Iterator
from random import Random

from tests.crash.simulated import TOP, Image, Inode, State, Tree, applied, change_names

SECTOR = 512
PAGE = 4096


def power_cut(state: State) -> Image:
    """
    Return what is left when nothing unsynced reached the disk.
    """
    return _image(state.durable, {inode: content.durable for inode, content in state.inodes.items()})


def power_cuts(state: State, random: Random, at_most: int) -> Iterator[Image]:
    """
    Yield what a power cut may leave of *state*: all combinations of its unsynced changes, or a sample of *at_most*.
    """
    trees = list(_trees(state, random))
    open_inodes = [inode for inode, content in state.inodes.items() if content.pending]
    reachable = {inode for tree in trees for names in tree.values() for inode in names.values()}
    contents = [
        [(inode, data) for data in dict.fromkeys(file_states(state.inodes[inode], random))]
        for inode in open_inodes
        if inode in reachable
    ]
    settled = {inode: content.durable for inode, content in state.inodes.items()}
    count = len(trees)
    for variants in contents:
        count *= len(variants)
    if count <= at_most:
        for tree in trees:
            for chosen in itertools.product(*contents):
                yield _image(tree, settled | dict(chosen))
        return
    for _ in range(at_most):
        yield _image(random.choice(trees), settled | dict(random.choice(variants) for variants in contents))


def kill(state: State) -> Image:
    """
    Return what a process finds that is started after the last one was killed: everything that was ever written.
    """
    return _image(state.seen, {inode: content.cache for inode, content in state.inodes.items()})


def _image(tree: Tree, contents: dict[int, bytes]) -> Image:
    image: Image = {}
    places = [("", TOP)]
    while places:
        place, directory = places.pop()
        for name, number in tree.get(directory, {}).items():
            path = f"{place}/{name}"
            if number < 0:
                image[path] = None
                places.append((path, number))
            else:
                image[path] = contents[number]
    return image


def _trees(state: State, random: Random) -> Iterator[Tree]:
    """
    Yield the directory trees that any subset of the unsynced name changes leaves, in their order.
    """
    changes = state.pending
    subsets: list[tuple[bool, ...]]
    if len(changes) <= 4:
        subsets = list(itertools.product((False, True), repeat=len(changes)))
    else:
        count = len(changes)
        subsets = [tuple(at < size for at in range(count)) for size in range(count + 1)]
        subsets += [tuple(at != left_out for at in range(count)) for left_out in range(count)]
        subsets += [tuple(random.random() < 0.5 for _ in range(count)) for _ in range(8)]
    for subset in dict.fromkeys(subsets):
        tree = {directory: dict(names) for directory, names in state.durable.items()}
        for change, persists in zip(changes, subset, strict=True):
            if persists:
                change_names(tree, change)
        yield tree


def file_states(inode: Inode, random: Random) -> Iterator[bytes]:
    """
    Yield the bytes that a power cut may leave of a file with unsynced changes.

    Nothing of them, or all; any subset of the sectors, torn at 512 bytes and at 4 KiB; the new size before the data; a
    part of the size.
    """
    durable, final = inode.durable, applied(inode.durable, inode.pending)
    yield durable
    yield final
    if any(data is None for _, data in inode.pending):
        yield from (applied(durable, inode.pending[:count]) for count in range(len(inode.pending)))
        return
    first = min(at for at, _ in inode.pending)
    for unit in (SECTOR, PAGE):
        units = range(first // unit, (len(final) + unit - 1) // unit)
        for kept in _subsets(len(units), random):
            data = bytearray(durable.ljust(len(final), b"\0"))
            for at, persists in zip(units, kept, strict=True):
                if persists:
                    data[at * unit : (at + 1) * unit] = final[at * unit : (at + 1) * unit]
            yield bytes(data)
            end = (units.start + kept.index(False)) * unit if False in kept else len(final)
            if len(durable) < end < len(final):
                yield bytes(data[:end])
    yield final[: random.randint(min(len(durable), len(final)), len(final))]


def _subsets(count: int, random: Random) -> Iterator[tuple[bool, ...]]:
    if count <= 5:
        yield from itertools.product((False, True), repeat=count)
        return
    yield (False,) * count
    for at in range(count):
        yield tuple(other == at for other in range(count))
        yield tuple(other != at for other in range(count))
        yield tuple(other < at for other in range(count))
    for _ in range(12):
        yield tuple(random.random() < 0.5 for _ in range(count))
