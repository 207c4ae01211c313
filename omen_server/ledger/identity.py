"""
Which ledger a directory is. Creating is not opening: a directory that holds anything else is refused.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from .durable import TEMPORARY, Disk, make_directory, replace_file
from .errors import NotALedger
from .names import IDENTITY, LOCK

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """
    The id for life, and the epoch that a restore from a backup renews.
    """

    ledger_id: str
    ledger_epoch: str
    format_version: int
    created_at: str


def is_unused(disk: Disk, root: str) -> bool:
    """
    Tell whether a directory is absent or holds nothing but a lock and temporary files.
    """
    return all(name == LOCK or name.endswith(TEMPORARY) for name in disk.names(root))


def read_identity(disk: Disk, root: str) -> Identity:
    """
    Return which ledger lies at *root*, or raise NotALedger.
    """
    if disk.size(f"{root}/{IDENTITY}") is None:
        raise NotALedger(root, f"it has no {IDENTITY}")
    try:
        identity = Identity(**json.loads(disk.read(f"{root}/{IDENTITY}")))
    except (ValueError, TypeError) as error:
        raise NotALedger(root, f"its {IDENTITY} cannot be read: {error}") from error
    if identity.format_version != FORMAT_VERSION:
        raise NotALedger(root, f"it has format {identity.format_version}, this version reads {FORMAT_VERSION}")
    return identity


def ensure_identity(disk: Disk, root: str, now: Callable[[], datetime]) -> Identity:
    """
    Return which ledger lies at *root*, founding it in a directory that is unused. A crash leaves it founded or unused.
    """
    if not is_unused(disk, root):
        return read_identity(disk, root)
    make_directory(disk, root)
    return write_identity(disk, root, uuid.uuid4().hex, now)


def write_identity(disk: Disk, root: str, ledger_id: str, now: Callable[[], datetime]) -> Identity:
    """
    Give the ledger at *root* an identity in a new epoch.
    """
    created_at = now().astimezone(UTC).isoformat().replace("+00:00", "Z")
    identity = Identity(ledger_id, uuid.uuid4().hex, FORMAT_VERSION, created_at)
    replace_file(disk, f"{root}/{IDENTITY}", json.dumps(asdict(identity), indent=2).encode() + b"\n")
    return identity
