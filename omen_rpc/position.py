"""
Where a record lies in the ledger, and the hash by which OMEN and RiskCast agree that it lies there.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from omen_rpc.json_values import UINT64_MAX, CodecError
from omen_rpc.rfc3339 import SECONDS_MAX, SECONDS_MIN

BLOCK_POSITIONS: Final = 1024

_PARTITION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:-late)?").fullmatch


@dataclass(frozen=True, slots=True)
class Position:
    """
    What the ledger alone says of a record. `written_at` is in nanoseconds since 1970, UTC.
    """

    partition: str
    sequence: int
    index: int
    offset: int
    durable_offset: int
    written_at: int

    def __post_init__(self) -> None:
        if _PARTITION(self.partition) is None:
            raise CodecError("ledger_partition", f"{self.partition!r} is not a partition's name")
        if not 1 <= self.sequence <= UINT64_MAX:
            raise CodecError("ledger_sequence", f"{self.sequence} is not from 1 to 2^64-1")
        if not 1 <= self.index <= UINT64_MAX:
            raise CodecError("ledger_index", f"{self.index} is not from 1 to 2^64-1")
        if not 1 <= self.offset <= UINT64_MAX:
            raise CodecError("ledger_offset", f"{self.offset} is not from 1 to 2^64-1")
        # Zero: when the first record was written, nothing was durable yet.
        if not 0 <= self.durable_offset <= UINT64_MAX:
            raise CodecError("ledger_durable_offset", f"{self.durable_offset} is not from 0 to 2^64-1")
        if not SECONDS_MIN <= self.written_at // 1_000_000_000 <= SECONDS_MAX:
            raise CodecError("ledger_written_at", f"{self.written_at} ns is not in the years 0001 to 9999")


def position_hash(partition: str, index: int, signal_id: str, content_digest: str) -> tuple[int, int]:
    """
    Return the 128-bit hash of a record at its position as two unsigned halves, the high one first.

    It is BLAKE2b with a digest of 16 bytes, without key, salt or personalisation, over these 20 + p + s + d bytes:

        [4 B p][partition, p B UTF-8][8 B index][4 B s][signal_id, s B UTF-8][4 B d][content_digest, d B UTF-8]

    All integers are unsigned and big-endian; the digest is the text, with its ``sha256:``. The halves are the hash's
    first and last 8 bytes, big-endian.
    """
    name, signal, digest = partition.encode(), signal_id.encode(), content_digest.encode()
    hashed = blake2b(
        b"%b%b%b%b%b%b%b"
        % (
            len(name).to_bytes(4, "big"),
            name,
            index.to_bytes(8, "big"),
            len(signal).to_bytes(4, "big"),
            signal,
            len(digest).to_bytes(4, "big"),
            digest,
        ),
        digest_size=16,
    ).digest()
    return int.from_bytes(hashed[:8], "big"), int.from_bytes(hashed[8:], "big")


def fold(hashes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """
    Return the fingerprint of a set of positions: the XOR of their hashes, (0, 0) for none.

    Folding a fingerprint with one more hash adds that position, or takes it out again.
    """
    high = low = 0
    for hash_high, hash_low in hashes:
        high ^= hash_high
        low ^= hash_low
    return high, low


def block_of(index: int) -> int:
    """
    Return the number, from 0, of the block in which the record with this index (from 1) lies.
    """
    return (index - 1) >> 10


def to_int64(unsigned: int) -> int:
    """
    Return the signed integer with the same 64 bits, for columns that know no other.
    """
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def from_int64(signed: int) -> int:
    """
    Return the unsigned integer with the same 64 bits.
    """
    return signed & UINT64_MAX


def pack(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    """
    Yield two numbers for each range of positions: how many lie before its first one, counted from the range before, and
    how many follow its first one. Small numbers take a byte or two on the wire, positions of a long day four.
    """
    before = 0
    for first, last in ranges:
        yield first - before - 1
        yield last - first
        before = last


def unpack(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """
    Yield the ranges that were packed; ValueError when a number is missing.
    """
    last = 0
    for between, following in zip(numbers[::2], numbers[1::2], strict=True):
        first = last + between + 1
        last = first + following
        yield first, last
