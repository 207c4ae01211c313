"""
The bytes of a frame, and how to find frames again after damage. Nothing here touches a disk.

     0       1       2       3       4       5       6       7       8                    8 + length
    +-------+-------+-------+-------+-------+-------+-------+-------+------ - - - - ------+
    |  length, big-endian, 1..2^20  |  CRC-32 of the payload, b.e.  |       payload       |
    +-------+-------+-------+-------+-------+-------+-------+-------+------ - - - - ------+

A segment is frames and nothing else. Length 0 is illegal, because `crc32(b"") == 0` and space that a crash left
zero-filled would read as endless empty records. A legal length begins with a zero byte and JSON holds none, so a JSON
payload can never be mistaken for a header while looking for the next frame.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar
from zlib import crc32

from .errors import RecordTooLarge

Place = TypeVar("Place")

HEADER_BYTES = 8
PAYLOAD_BYTES_MAX = 1 << 20
SECTOR_BYTES = 512

# Fewer zero bytes than this at the edge of a sector prove nothing: two begin almost every length.
ZEROS_THAT_PROVE = 4

_HEADER = struct.Struct(">II")
_NOT_ZERO = re.compile(rb"[^\x00]")


class Frame(NamedTuple):
    """
    A whole frame whose checksum fits.
    """

    start: int
    payload: bytes

    @property
    def end(self) -> int:
        """
        Return where the next frame starts.
        """
        return self.start + HEADER_BYTES + len(self.payload)


class Damage(NamedTuple):
    """
    Bytes from which no frame can be read.
    """

    start: int
    end: int
    reason: str


# The words the seeds use in their log lines; tests and runbooks search for them.
PARTIAL_HEADER = "Partial header at the end"
PARTIAL_PAYLOAD = "Partial payload at the end"
ILLEGAL_LENGTH = "Length outside of 1 to 1048576"
CHECKSUM_MISMATCH = "Checksum does not fit the payload"
MISPLACED = "A whole frame that belongs elsewhere"


def encode_frame(payload: bytes) -> bytes:
    """
    Return *payload* as a frame.
    """
    if not 1 <= len(payload) <= PAYLOAD_BYTES_MAX:
        raise RecordTooLarge(len(payload), PAYLOAD_BYTES_MAX)
    return _HEADER.pack(len(payload), crc32(payload)) + payload


def decode_header(header: bytes) -> tuple[int, int]:
    """
    Return the length and the checksum that eight header bytes state.
    """
    length, checksum = _HEADER.unpack(header)
    return length, checksum


def encode_header(length: int, checksum: int) -> bytes:
    """
    Return the eight bytes before a payload.
    """
    return _HEADER.pack(length, checksum)


def read_frame(data: bytes, at: int) -> Frame | str:
    """
    Return the frame at *at*, or the reason why there is none.
    """
    body = at + HEADER_BYTES
    if body > len(data):
        return PARTIAL_HEADER
    length, checksum = _HEADER.unpack_from(data, at)
    if not 1 <= length <= PAYLOAD_BYTES_MAX:
        return ILLEGAL_LENGTH
    if body + length > len(data):
        return PARTIAL_PAYLOAD
    payload = data[body : body + length]
    if crc32(payload) != checksum:
        return CHECKSUM_MISMATCH
    return Frame(at, payload)


def scan(data: bytes, start: int, place: Callable[[bytes], Place | None]) -> Iterator[tuple[Frame, Place] | Damage]:
    """
    Yield every frame of *data* from *start*, and what lies between them where something is damaged.

    *place* answers where a payload belongs, or None when it cannot be the next one here. After damage the scan goes on
    at the first byte that begins such a frame, so a wrong length costs its own record and not the rest of the file.
    """
    at = start
    while at < len(data):
        frame = read_frame(data, at)
        if not isinstance(frame, str):
            found = place(frame.payload)
            if found is not None:
                yield frame, found
                at += HEADER_BYTES + len(frame.payload)
                continue
        after = _find_frame(data, at + 1, place)
        yield Damage(at, after, frame if isinstance(frame, str) else MISPLACED)
        at = after


def _find_frame(data: bytes, at: int, place: Callable[[bytes], Place | None]) -> int:
    """
    Return where the first frame at or after *at* that belongs here begins, or the end of *data*.
    """
    while (at := data.find(b"\x00", at)) >= 0:
        if data.startswith(b"\x00\x00\x00\x00", at):
            # Zero-filled space: only its last three bytes can belong to a length.
            after = _NOT_ZERO.search(data, at)
            if after is None:
                break
            at = max(at + 1, after.start() - 3)
            continue
        frame = read_frame(data, at)
        if not isinstance(frame, str) and place(frame.payload) is not None:
            return at
        at += 1
    return len(data)


def looks_torn(data: bytes, damage: Damage) -> bool:
    """
    Tell whether *damage* is what a crash leaves of a write, rather than something done to bytes that were whole.

    A crash leaves a file that ends inside a frame, or sectors that never arrived and read as zeros. A frame that is
    whole but for its length was once whole, so it was not torn: without this, one flipped bit in the last length would
    pass for a torn tail and an acknowledged record would be cut away.
    """
    body = damage.start + HEADER_BYTES
    if damage.end > body and crc32(data[body : damage.end]) == _HEADER.unpack_from(data, damage.start)[1]:
        return False
    short = damage.end == len(data) and damage.reason in {PARTIAL_HEADER, PARTIAL_PAYLOAD}
    return short or _holds_lost_sector(data, damage) or _lost_its_end(data, damage)


def _holds_lost_sector(data: bytes, damage: Damage) -> bool:
    """
    Tell whether some sector of the damage, as far as it lies inside it, is all zero.
    """
    at = damage.start
    while at < damage.end:
        edge = min((at // SECTOR_BYTES + 1) * SECTOR_BYTES, damage.end)
        if edge - at >= ZEROS_THAT_PROVE and data.count(0, at, edge) == edge - at:
            return True
        at = edge
    return False


def _lost_its_end(data: bytes, damage: Damage) -> bool:
    """
    Tell whether the file's last sector never arrived, of which the last payload was to have no more than a few bytes.

    So few zeros prove nothing elsewhere. Here they do: JSON ends in a brace, and no flipped bit makes a zero of that.
    """
    body = damage.start + HEADER_BYTES
    if damage.reason != CHECKSUM_MISMATCH or not data.startswith(b"{", body):
        return False
    end = body + decode_header(data[damage.start : body])[0]
    edge = (end - 1) // SECTOR_BYTES * SECTOR_BYTES
    return end == len(data) and data.count(0, edge, end) == end - edge
