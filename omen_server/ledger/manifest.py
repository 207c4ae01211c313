"""
What a seal states about a partition, and which statement is to be trusted.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from .durable import Disk
from .names import MANIFEST, SEALED, manifest_name

MANIFEST_SCHEMA = "1.0.0"


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """
    One segment as the manifest has it. Sizes and hashes are of its uncompressed bytes, whatever the tier.
    """

    file: str
    record_count: int
    size_bytes: int
    checksum: str
    sha256: str
    first_index: int
    last_index: int
    first_offset: int
    last_offset: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    A sealed partition, stated once and for ever; further arrivals make a further revision.

    `total_records` and `highwater_sequence` count frames, damaged ones included; `seal_number` counts the seals of the
    whole ledger, and `previous_manifest_sha256` is the hash of the manifest that the seal before this one wrote.
    """

    schema_version: str
    partition_date: str
    partition: str
    sealed_at: str
    total_records: int
    highwater_sequence: int
    manifest_revision: int
    is_late_partition: bool
    segments: tuple[SealedSegment, ...]
    valid_records: int
    corrupt_count: int
    distinct_signal_ids: int
    last_ledger_sequence: int
    last_ledger_index: int
    first_offset: int
    last_offset: int
    gaps: tuple[dict[str, Any], ...]
    merkle_root: str
    seal_number: int
    previous_manifest_sha256: str

    @property
    def last_ordinal(self) -> int:
        """
        Return the ordinal of the last segment that is covered.
        """
        return int(self.segments[-1].file.removeprefix("signals-").partition(".")[0])

    def encode(self) -> bytes:
        """
        Return the file's bytes.
        """
        return json.dumps(asdict(self), indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """
        Return the manifest in *data*; ValueError when there is none.
        """
        try:
            fields = json.loads(data)
            segments = tuple(SealedSegment(**segment) for segment in fields.pop("segments"))
            return cls(segments=segments, gaps=tuple(fields.pop("gaps")), **fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(str(error)) from error


def encode_seal(revision: int, manifest: bytes) -> bytes:
    """
    Return what `_SEALED` says of a manifest's bytes.
    """
    return json.dumps({"manifest_revision": revision, "manifest_sha256": digest(manifest)}).encode() + b"\n"


def digest(data: bytes) -> str:
    """
    Return the SHA-256 of *data* in hex.
    """
    return hashlib.sha256(data).hexdigest()


def read_seal(disk: Disk, directory: str) -> tuple[int, str] | None:
    """
    Return the revision and the hash that `_SEALED` names, or None when there is no readable one.
    """
    path = f"{directory}/{SEALED}"
    if disk.size(path) is None:
        return None
    try:
        fields = json.loads(disk.read(path))
        return int(fields["manifest_revision"]), str(fields["manifest_sha256"])
    except (ValueError, KeyError, TypeError):
        return None


def trusted_manifest(disk: Disk, directory: str) -> Manifest | None:
    """
    Return the manifest that `_SEALED` vouches for, or None. One without `_SEALED` is nobody's word.
    """
    seal = read_seal(disk, directory)
    if seal is None:
        return None
    for name in (manifest_name(seal[0]), MANIFEST):
        path = f"{directory}/{name}"
        if disk.size(path) is not None and digest(data := disk.read(path)) == seal[1]:
            try:
                return Manifest.decode(data)
            except ValueError:
                return None
    return None


def unfinished_manifest(disk: Disk, directory: str) -> Manifest | None:
    """
    Return a manifest that was written and never vouched for: a seal that a crash interrupted.
    """
    path = f"{directory}/{MANIFEST}"
    if disk.size(path) is None:
        return None
    try:
        manifest = Manifest.decode(disk.read(path))
    except ValueError:
        return None
    seal = read_seal(disk, directory)
    return manifest if seal is None or manifest.manifest_revision > seal[0] else None
