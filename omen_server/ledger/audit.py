"""
Deriving everything about a partition again from its bytes, and proving to a stranger that it holds a record.

Works on any directory: offline or live, damaged or not. It trusts nothing it can compute.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from zlib import crc32

from omen_rpc.position import Position

from .durable import Disk
from .entry import Codec, sequence_of
from .errors import PartitionNotFound, RecordNotFound
from .format import Damage, looks_torn
from .manifest import Manifest, digest, read_seal, unfinished_manifest
from .marks import Marks
from .merkle import MerkleTree, audit_path, leaf_hash
from .names import COMPRESSED, MANIFEST, manifest_name, segment_ordinal
from .partition import PartitionFiles, is_deleted, partition_names, read_partition_files
from .reader import Walk
from .segment import Record, load_segment, read_segment

FAULTS_MAX = 100
PROGRESS_RECORDS = 10_000

NOT_PROVEN = (
    "That no whole day was deleted together with its manifest and every later one; compare the logged seal numbers.",
    "That records of an open partition behind its last one were not cut away; a seal fixes the end.",
    "That the roots are the ones that were sealed, unless they are compared with a copy kept on another machine.",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that is wrong, with its exact place. Sequence and index are what they must have been.
    """

    kind: str
    partition: str
    sequence: int
    index: int
    file: str
    byte_offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a verification is.
    """

    records_done: int
    records_total: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What a verification found; `faults` are the first hundred, in order.
    """

    partition: str
    record_count: int
    merkle_root: str
    faults: tuple[Fault, ...]
    fault_count: int
    not_proven: tuple[str, ...] = NOT_PROVEN

    @property
    def intact(self) -> bool:
        """
        Tell whether nothing is wrong.
        """
        return self.fault_count == 0


@dataclass(frozen=True, slots=True)
class Proof:
    """
    That a sealed partition holds a record: hash 0x00 and the payload, fold in the path, compare with the root.
    """

    partition: str
    manifest_revision: int
    merkle_root: str
    leaf_index: int
    tree_size: int
    audit_path: tuple[bytes, ...]
    payload: bytes


def verify(disk: Disk, root: str, name: str, codec: Codec, *, live: bool = False) -> Iterator[Progress | Verdict]:
    """
    Yield progress and at the end the verdict. *live* says that a writer may be at work on the partition's end.
    """
    if name not in partition_names(disk, root):
        raise PartitionNotFound(name)
    check = _Check(disk, root, read_partition_files(disk, root, name), codec, live)
    if not check.deleted:
        yield from check.records()
    check.seal()
    check.chain()
    yield Verdict(name, check.tree.size, check.tree.root().hex(), tuple(check.faults[:FAULTS_MAX]), len(check.faults))


def prove(disk: Disk, root: str, signal_id: str, codec: Codec, partition: str | None = None) -> Proof:
    """
    Prove that a sealed partition holds a signal; *partition*, when known, saves the search.
    """
    wanted = signal_id.encode()
    for name in [partition] if partition is not None else reversed(partition_names(disk, root)):
        files = read_partition_files(disk, root, name)
        if files.manifest is None or not files.segments:
            continue
        leaves: list[bytes] = []
        found: tuple[int, bytes] | None = None
        for item in Walk(disk, files, codec, Marks()):
            if isinstance(item, Record) and len(leaves) < files.manifest.valid_records:
                if found is None and wanted in item.payload and codec.signal_id(item.payload) == signal_id:
                    found = len(leaves), item.payload
                leaves.append(leaf_hash(item.payload))
        if found is not None:
            return Proof(
                name,
                files.manifest.manifest_revision,
                files.manifest.merkle_root,
                found[0],
                len(leaves),
                tuple(audit_path(leaves, found[0])),
                found[1],
            )
    raise RecordNotFound(f"signal {signal_id}")


@dataclass(slots=True)
class _Check:
    disk: Disk
    root: str
    files: PartitionFiles
    codec: Codec
    live: bool
    tree: MerkleTree = field(default_factory=MerkleTree)
    faults: list[Fault] = field(default_factory=list)
    last: Position | None = None
    roots: dict[int, str] = field(default_factory=dict)
    sums: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    _sizes: frozenset[int] = frozenset()

    @property
    def deleted(self) -> bool:
        """
        Tell whether the segments went, or are going, because their time was over. Manifests and seal are left to check.
        """
        return self.files.manifest is not None and is_deleted(self.disk, self.files)

    def records(self) -> Iterator[Progress]:
        """
        Go over every byte of every segment.
        """
        files = self.files
        self._sizes = frozenset(manifest.valid_records for manifest in self._revisions())
        sizes = [self.disk.size(f"{files.directory}/{file}") or 0 for file in files.segments.values()]
        done, total = 0, files.manifest.valid_records if files.manifest is not None else 0
        expected = 1
        for at, (ordinal, file) in enumerate(files.segments.items()):
            if ordinal != expected:
                self._fault("segment", file, 0, f"Segments {expected} to {ordinal - 1} are gone")
            expected = ordinal + 1
            data = load_segment(self.disk, f"{files.directory}/{file}")
            self.sums[file.removesuffix(COMPRESSED)] = len(data), crc32(data), digest(data)
            for item in read_segment(data, files.name, file, self.codec.position_of, self.last):
                self._item(file, ordinal, data, item)
                if isinstance(item, Record) and self.tree.size % PROGRESS_RECORDS == 0:
                    yield Progress(self.tree.size, max(total, self.tree.size), done + item.end, sum(sizes))
            done += sizes[at]
        yield Progress(self.tree.size, max(total, self.tree.size), done, sum(sizes))

    def seal(self) -> None:
        """
        Compare the bytes with what the seal states about them.
        """
        manifest = self.files.manifest
        if manifest is None:
            if self.files.seal_present:
                self._fault("seal", "_SEALED", 0, "No manifest has the hash that the seal names")
            return
        self._copies(manifest)
        if self.deleted:
            return
        for segment in manifest.segments:
            found = self.sums.get(segment.file)
            stated = segment.size_bytes, int(segment.checksum.removeprefix("crc32:"), 16), segment.sha256
            if found is None:
                self._fault("segment", segment.file, 0, "The manifest lists it, and it is gone")
            elif found != stated:
                self._fault("manifest", segment.file, 0, "Its bytes are not the ones that were sealed")
        for sealed in self._revisions():
            if self.roots.get(sealed.valid_records) != sealed.merkle_root:
                name = manifest_name(sealed.manifest_revision)
                self._fault(
                    "manifest", name, 0, f"The records do not lead to the root of revision {sealed.manifest_revision}"
                )
        if self.files.sealed and self.tree.size != manifest.valid_records:
            self._fault(
                "manifest",
                manifest_name(manifest.manifest_revision),
                0,
                f"It counts {manifest.valid_records} readable records, there are {self.tree.size}",
            )

    def chain(self) -> None:
        """
        Follow the seals of the whole ledger up to this partition's: none is missing, each names the one before.
        """
        manifest = self.files.manifest
        if manifest is None:
            return
        hashes: dict[int, str] = {}
        previous: dict[int, str] = {}
        for name in partition_names(self.disk, self.root):
            for sealed, sha256 in _all_revisions(self.disk, read_partition_files(self.disk, self.root, name)):
                hashes[sealed.seal_number] = sha256
                previous[sealed.seal_number] = sealed.previous_manifest_sha256
        for sealed, sha256 in _all_revisions(self.disk, self.files):
            file, number = manifest_name(sealed.manifest_revision), sealed.seal_number
            before = hashes.get(number - 1)
            if number > 1 and before != sealed.previous_manifest_sha256:
                what = "is gone" if before is None else "is not the one it was chained to"
                self._fault("chain", file, 0, f"The manifest of seal {number - 1} {what}")
            if previous.get(number + 1, sha256) != sha256:
                self._fault("chain", file, 0, f"Seal {number + 1} was chained to other bytes")

    def _copies(self, manifest: Manifest) -> None:
        """
        Check that every copy of a manifest is there and is what the seal or the later revisions say.
        """
        named = read_seal(self.disk, self.files.directory)
        for revision in range(1, manifest.manifest_revision + 1):
            path = f"{self.files.directory}/{manifest_name(revision)}"
            data = self.disk.read(path) if self.disk.size(path) is not None else b""
            if not data or (named is not None and revision == named[0] and digest(data) != named[1]):
                self._fault("manifest", manifest_name(revision), 0, f"Revision {revision} is not what was sealed")
        newest = f"{self.files.directory}/{MANIFEST}"
        data = self.disk.read(newest) if self.disk.size(newest) is not None else b""
        unfinished = unfinished_manifest(self.disk, self.files.directory) is not None
        if named is not None and digest(data) != named[1] and not unfinished:
            self._fault("manifest", MANIFEST, 0, "It is not the manifest that was sealed")

    def _revisions(self) -> list[Manifest]:
        return [manifest for manifest, _ in _all_revisions(self.disk, self.files)]

    def _item(self, file: str, ordinal: int, data: bytes, item: Record | Damage) -> None:
        last = self.last
        if isinstance(item, Damage):
            tail = item.end == len(data) and ordinal == self.files.last_ordinal and not self.files.sealed
            # What the next start cuts away, or what is being written right now, was never anybody's record.
            if not (tail and (self.live or looks_torn(data, item))):
                self._fault("frame", file, item.start, item.reason)
            return
        position = item.position
        expected = last.index + 1 if last is not None else 1
        if position.index != expected and not (self.faults and self.faults[-1].index == expected):
            self._fault("sequence", file, item.byte_offset, f"Position {expected} is missing before {position.index}")
        if position.durable_offset >= position.offset:
            self._fault("position", file, item.byte_offset, "It claims to have been durable before it was written")
        self.last = position
        self.tree.add(item.payload)
        if self.tree.size in self._sizes:
            self.roots[self.tree.size] = self.tree.root().hex()

    def _fault(self, kind: str, file: str, byte_offset: int, reason: str) -> None:
        ordinal = segment_ordinal(file)
        sequence = self.last.sequence + 1 if self.last is not None else sequence_of(1, 1)
        if ordinal is not None and sequence >> 32 != ordinal:
            sequence = sequence_of(ordinal, 1)
        index = self.last.index + 1 if self.last is not None else 1
        self.faults.append(Fault(kind, self.files.name, sequence, index, file, byte_offset, reason))


def _all_revisions(disk: Disk, files: PartitionFiles) -> list[tuple[Manifest, str]]:
    """
    Return every revision that was vouched for, each with its hash. One that cannot be read is simply not there.
    """
    newest = files.manifest.manifest_revision if files.manifest is not None else 0
    found: list[tuple[Manifest, str]] = []
    for revision in range(1, newest + 1):
        path = f"{files.directory}/{manifest_name(revision)}"
        if disk.size(path) is not None:
            data = disk.read(path)
            try:
                found.append((Manifest.decode(data), digest(data)))
            except ValueError:
                continue
    return found
