import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.ledger.place import opened
from omen_cli.options import Output
from omen_cli.output import print_one
from omen_rpc.signal_codec import CodecError, decode
from omen_server.ledger.audit import Proof
from omen_server.ledger.merkle import root_from_path

HOW = (
    "Leaf: SHA-256(0x00 || payload). Node: SHA-256(0x01 || left || right). Folding audit_path into the leaf by "
    "leaf_index and tree_size (RFC 9162, 2.1.3.2) gives merkle_root. Compare that root with one kept elsewhere."
)
NOT_PROVEN = "that this root is the one that was sealed: compare it with the server's log or --root, kept elsewhere"


def prove(
    directory: Annotated[Path | None, Parameter(help="The ledger's directory, or the data directory.")] = None,
    signal_id: Annotated[str, Parameter(help="Whose record.")] = "",
    *,
    partition: Annotated[str | None, Parameter(help="Where it is, when known; saves the search.")] = None,
    check: Annotated[Path | None, Parameter(help="Check this proof instead: no ledger is needed.")] = None,
    root: Annotated[str, Parameter(help="The root that a checked proof must lead to, in hex.")] = "",
    output: Output = "text",
) -> int:
    """
    Prove that a sealed partition holds a signal, as JSON that a stranger can check; or check such a proof.

    Bytes are in hex. Exit 1 when a checked proof does not lead to its root.

    Example: omen ledger prove .omen OMEN-DEMO001ABCD > proof.json

    Example: omen ledger prove --check proof.json
    """
    if check is not None:
        return check_proof(check, root, output)
    if directory is None or not signal_id:
        raise exits.Stopped(exits.USAGE, "USAGE", "a directory and a signal's id are needed, or --check FILE", "")
    with opened(directory) as ledger:
        row = row_of(signal_id, ledger.prove(signal_id, partition))
    if why := refuted(row):
        remedy = f"Keep the directory as it is and run omen ledger verify {directory} {row['partition']}."
        raise exits.Stopped(exits.PROBLEM, "PARTITION_DAMAGED", f"{row['partition']} proves nothing: {why}", remedy)
    print(json.dumps(row, indent=2 if output == "text" else None))
    return exits.OK


def row_of(signal_id: str, proof: Proof) -> dict[str, Any]:
    """
    Return a proof with everything that a stranger needs.
    """
    return {
        "signal_id": signal_id,
        "partition": proof.partition,
        "manifest_revision": proof.manifest_revision,
        "merkle_root": proof.merkle_root,
        "leaf_index": proof.leaf_index,
        "tree_size": proof.tree_size,
        "audit_path": [node.hex() for node in proof.audit_path],
        "payload": proof.payload.hex(),
        "leaf_hash": hashlib.sha256(b"\x00" + proof.payload).hexdigest(),
        "how": HOW,
    }


def check_proof(file: Path, root: str, output: Output) -> int:
    """
    Print whether a proof holds.
    """
    try:
        row = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise exits.Stopped(exits.NOT_FOUND, "NO_SUCH_FILE", f"there is no {file}", "Check the path.") from error
    except ValueError as error:
        text = f"{file} holds no JSON: {error}"
        raise exits.Stopped(exits.USAGE, "NOT_A_PROOF", text, "omen ledger prove writes proofs.") from error
    why = refuted(row, root)
    told = row if isinstance(row, dict) else {}
    answer = {
        "holds": not why,
        "why": why,
        **{name: told.get(name, "") for name in ("signal_id", "partition", "merkle_root", "leaf_index", "tree_size")},
        "not_proven": "" if root else NOT_PROVEN,
    }
    print_one(output, answer)
    return exits.PROBLEM if why else exits.OK


def refuted(row: Any, root: str = "") -> str:
    """
    Return why a proof does not hold, or nothing. It comes from anywhere, so every part of it is checked.
    """
    try:
        payload, path = bytes.fromhex(row["payload"]), [bytes.fromhex(node) for node in row["audit_path"]]
        index, size, stated = int(row["leaf_index"]), int(row["tree_size"]), bytes.fromhex(row["merkle_root"])
        signal_id = str(row["signal_id"])
    except (KeyError, TypeError, ValueError) as error:
        return f"it is no proof: {type(error).__name__} at {error}"
    if not 0 <= index < size:
        return f"leaf {index} is not in a tree of {size}"
    fits = len(path) == path_length(index, size) and all(len(node) == len(stated) for node in path)
    checks = (
        (fits, "the path has not the length that this place in the tree asks for"),
        (fits and root_from_path(payload, index, size, path) == stated, "the payload does not lead to the root"),
        (not root or root.lower() == stated.hex(), f"it leads to another root than {root}"),
        (signal_id_of(payload) == signal_id, f"the payload is not that of {signal_id}"),
    )
    return next((why for holds, why in checks if not holds), "")


def path_length(index: int, size: int) -> int:
    """
    Return how many nodes lie beside the way from a leaf to the root.
    """
    shared = (index ^ (size - 1)).bit_length()
    return shared + (index >> shared).bit_count()


def signal_id_of(payload: bytes) -> str:
    """
    Return whose record a payload is, or nothing when it holds no signal event.
    """
    try:
        return str(decode(payload).signal_id)
    except CodecError:
        return ""
