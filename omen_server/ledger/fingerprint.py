"""
Fingerprints of position ranges: the XOR of position hashes, summed up block by block so that any range costs two edges.

The sums lie in a sidecar file beside the segments. It is nobody's word: it is rebuilt from the records when it is gone,
does not fit, or claims more than there is.
"""

import hashlib
import json
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from zlib import crc32

from omen_rpc.position import BLOCK_POSITIONS, block_of

from .durable import Disk, replace_file
from .entry import Codec
from .names import BLOCKS
from .partition import Gap
from .reader import Walk
from .segment import Record

_HEAD = struct.Struct(">8sQQQQQI")
_MAGIC = b"OMENBLK2"
_BLOCK_WORDS = 3
DISTINCT_BUCKETS = 64


@dataclass(frozen=True, slots=True)
class Block:
    """
    How many positions of a block are held, and the two halves of their fingerprint.
    """

    block: int
    count: int
    high: int
    low: int


@dataclass(slots=True)
class Fingerprints:
    """
    The sums of one partition, as far as they were asked for.

    `words` holds count, high and low of each block; `ids` a hash of each record's signal, for counting different ones;
    `gaps` what was not there to be summed up.
    """

    directory: str
    through: int = 0
    lost: int = 0
    first_offset: int = 0
    words: "array[int]" = field(default_factory=lambda: array("Q"))
    ids: "array[int]" = field(default_factory=lambda: array("Q"))
    gaps: list[Gap] = field(default_factory=list)
    _distinct: tuple[int, int] = (0, 0)

    @classmethod
    def load(cls, disk: Disk, directory: str) -> "Fingerprints":
        """
        Return the sums in the sidecar, or empty ones.
        """
        data = disk.read(f"{directory}/{BLOCKS}") if disk.size(f"{directory}/{BLOCKS}") else b""
        if len(data) < _HEAD.size:
            return cls(directory)
        magic, through, lost, first_offset, blocks, records, checksum = _HEAD.unpack_from(data)
        body = data[_HEAD.size :]
        if magic != _MAGIC or crc32(body, crc32(data[: _HEAD.size - 4])) != checksum:
            return cls(directory)
        words, ids = array("Q"), array("Q")
        ids_at = blocks * _BLOCK_WORDS * 8
        gaps_at = ids_at + records * 8
        words.frombytes(body[:ids_at])
        ids.frombytes(body[ids_at:gaps_at])
        return cls(
            directory, through, lost, first_offset, words, ids, [Gap(**gap) for gap in json.loads(body[gaps_at:])]
        )

    def save(self, disk: Disk) -> None:
        """
        Keep the sums. Losing them costs time only, so no failure here is anybody's error.
        """
        gaps = json.dumps([asdict(gap) for gap in self.gaps]).encode()
        body = self.words.tobytes() + self.ids.tobytes() + gaps
        blocks = len(self.words) // _BLOCK_WORDS
        head = _HEAD.pack(_MAGIC, self.through, self.lost, self.first_offset, blocks, len(self.ids), 0)[:-4]
        with suppress(OSError):
            replace_file(disk, f"{self.directory}/{BLOCKS}", head + crc32(body, crc32(head)).to_bytes(4, "big") + body)

    def advance(self, walk_after: Callable[[int], Walk], codec: Codec) -> None:
        """
        Add the records that are new since the last time.
        """
        for item in walk_after(self.through):
            if isinstance(item, Gap):
                self.lost += 0 if item.skipped else item.last_index - item.first_index + 1
                self.through = item.last_index
                self.gaps.append(item)
            else:
                self._add(item, codec)

    def blocks(self, walk_after: Callable[[int], Walk], codec: Codec, first: int, through: int) -> Iterator[Block]:
        """
        Yield the fingerprint of each block that has positions from *first* to *through*, cut to that range.
        """
        through = min(through, self.through)
        for block in range(block_of(max(first, 1)), block_of(through) + 1 if through >= max(first, 1) else 0):
            begin, end = block * BLOCK_POSITIONS + 1, (block + 1) * BLOCK_POSITIONS
            if first <= begin and min(end, self.through) <= through:
                at = block * _BLOCK_WORDS
                known = self.words[at : at + _BLOCK_WORDS]
                yield Block(block, *known) if known else Block(block, 0, 0, 0)
            else:
                yield _cut(walk_after, codec, block, max(begin, first), min(end, through))

    def distinct_signal_ids(self) -> int:
        """
        Return how many different signals were counted.
        """
        if self._distinct[0] != len(self.ids):
            # One set of them all would take tens of megabytes for a moment, at each look at a day that goes on.
            buckets = [array("Q") for _ in range(DISTINCT_BUCKETS)]
            for each in self.ids:
                buckets[each % DISTINCT_BUCKETS].append(each)
            self._distinct = len(self.ids), sum(len(set(bucket)) for bucket in buckets)
        return self._distinct[1]

    def _add(self, record: Record, codec: Codec) -> None:
        high, low = codec.position_hash(record.payload)
        at = block_of(record.position.index) * _BLOCK_WORDS
        while len(self.words) < at + _BLOCK_WORDS:
            self.words.append(0)
        self.words[at] += 1
        self.words[at + 1] ^= high
        self.words[at + 2] ^= low
        hashed = hashlib.blake2b(codec.signal_id(record.payload).encode(), digest_size=8).digest()
        self.ids.append(int.from_bytes(hashed, "big"))
        self.first_offset = self.first_offset or record.position.offset
        self.through = record.position.index


def _cut(walk_after: Callable[[int], Walk], codec: Codec, block: int, first: int, through: int) -> Block:
    """
    Fingerprint a part of a block from its records.
    """
    count = high = low = 0
    for item in walk_after(first - 1):
        if isinstance(item, Gap):
            continue
        if item.position.index > through:
            break
        halves = codec.position_hash(item.payload)
        count, high, low = count + 1, high ^ halves[0], low ^ halves[1]
    return Block(block, count, high, low)
