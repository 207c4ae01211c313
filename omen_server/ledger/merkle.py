"""
The tree of RFC 6962: leaf = SHA-256(0x00 ‖ payload), node = SHA-256(0x01 ‖ left ‖ right).
"""

import hashlib
from collections.abc import Iterable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(payload: bytes) -> bytes:
    """
    Return the hash of one record.
    """
    return hashlib.sha256(b"\x00" + payload).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """
    Return the hash over two halves.
    """
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """
    The root over leaves that come one by one; it keeps one hash a level, twenty for a million records.
    """

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []

    def add(self, payload: bytes) -> None:
        """
        Append one record.
        """
        node = leaf_hash(payload)
        size = self.size
        while size & 1:
            node = node_hash(self._subtrees.pop(), node)
            size >>= 1
        self._subtrees.append(node)
        self.size += 1

    def root(self) -> bytes:
        """
        Return the root over everything so far.
        """
        if not self._subtrees:
            return EMPTY_ROOT
        node = self._subtrees[-1]
        for left in reversed(self._subtrees[:-1]):
            node = node_hash(left, node)
        return node


def audit_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """
    Return the sibling hashes from the leaf up, which together with the leaf give the root.
    """
    path: list[bytes] = []
    level = list(leaves)
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level = [
            node_hash(level[at], level[at + 1]) if at + 1 < len(level) else level[at] for at in range(0, len(level), 2)
        ]
        index //= 2
    return path


def root_from_path(payload: bytes, index: int, size: int, path: Iterable[bytes]) -> bytes:
    """
    Return the root that an inclusion proof leads to (RFC 9162, 2.1.3.2).
    """
    node, last = leaf_hash(payload), size - 1
    for sibling in path:
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        index >>= 1
        last >>= 1
    return node
