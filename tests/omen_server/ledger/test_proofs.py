"""
Proofs that a record is in a sealed partition, checked with nothing of ours.
"""

from datetime import timedelta
from hashlib import sha256

import pytest

from omen_server.ledger import audit
from omen_server.ledger.errors import RecordNotFound
from omen_server.ledger.merkle import MerkleTree, root_from_path
from tests.crash.records import NOON, note
from tests.omen_server.ledger.conftest import Clock, Opener


async def test_inclusion_proof_convinces_a_stranger(opened: Opener, clock: Clock) -> None:
    """
    A proof and a root are enough to check any record, for trees of every size up to twenty; another payload fails.
    """
    async with opened() as ledger:
        for size in range(1, 21):
            day = NOON - timedelta(days=size)
            name = day.date().isoformat()
            await ledger.append([note(size * 100 + number, day) for number in range(size)])
            info, _ = await ledger.seal(name)
            for number in range(size):
                proof = await ledger.prove(f"OMEN-{size * 100 + number:06d}")
                assert (proof.partition, proof.leaf_index, proof.tree_size) == (name, number, size)
                assert fold(proof.payload, proof).hex() == info.merkle_root == proof.merkle_root
                assert root_from_path(proof.payload, number, size, proof.audit_path).hex() == info.merkle_root
                assert fold(proof.payload + b" ", proof).hex() != info.merkle_root
        with pytest.raises(RecordNotFound):
            await ledger.prove("OMEN-999999")
        assert clock.now == NOON


def fold(payload: bytes, proof: audit.Proof) -> bytes:
    """
    Return the root a proof leads to, in the few lines that a stranger would write.
    """
    node, index, last = sha256(b"\0" + payload).digest(), proof.leaf_index, proof.tree_size - 1
    path = list(proof.audit_path)
    while last:
        if index & 1:
            node = sha256(b"\1" + path.pop(0) + node).digest()
        elif index < last:
            node = sha256(b"\1" + node + path.pop(0)).digest()
        index, last = index >> 1, last >> 1
    assert not path
    return node


def test_golden_merkle_root() -> None:
    """
    The tree is RFC 6962's: the published roots of its test leaves come out.
    """
    tree = MerkleTree()
    assert tree.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    for leaf in leaves:
        tree.add(bytes.fromhex(leaf))
        if tree.size in roots:
            assert tree.root().hex() == roots[tree.size]
