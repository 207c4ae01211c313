import hashlib
from collections.abc import Sequence


def check_proof(payload: bytes, leaf_index: int, tree_size: int, audit_path: Sequence[bytes], merkle_root: str) -> bool:
    """
    Tell whether *payload* is leaf *leaf_index* of the tree of *tree_size* leaves with this root (RFC 6962).

    It needs nothing from the ledger but the proof. Compare the root with one that was noted when the partition was
    sealed, or the proof only says that the server agrees with itself.
    """
    if not 0 <= leaf_index < tree_size:
        return False
    node, index, last = hashlib.sha256(b"\x00" + payload).digest(), leaf_index, tree_size - 1
    for sibling in audit_path:
        if last == 0:
            return False  # The path is longer than the tree is high.
        if index & 1 or index == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    return last == 0 and node.hex() == merkle_root
