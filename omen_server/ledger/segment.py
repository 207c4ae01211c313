"""
One segment file, read: its records in their places, and the damage between them.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from omen_rpc.position import Position

from .durable import Disk
from .format import HEADER_BYTES, Damage, scan
from .names import ARCHIVE, COMPRESSED, segment_ordinal

# How much of a segment a reader holds at once.
WINDOW_BYTES = 1 << 18
# How much of a compressed segment is uncompressed at once.
UNPACKED_BYTES = 1 << 12


@dataclass(frozen=True, slots=True)
class Record:
    """
    One record as it lies in the ledger.

    `unproven` is True for a record that a reader outside of the writing process saw before anything proved it durable:
    a power cut may still take it back.
    """

    position: Position
    payload: bytes
    file: str
    byte_offset: int
    unproven: bool = False

    @property
    def end(self) -> int:
        """
        Return where the next frame starts in the file.
        """
        return self.byte_offset + HEADER_BYTES + len(self.payload)


def segment_files(disk: Disk, directory: str) -> dict[int, str]:
    """
    Return the segment files of a partition by ordinal, in order.

    Where a crash left both forms of one segment the uncompressed one counts: it goes only after the other was compared.
    """
    found: dict[int, str] = {}
    for name in disk.names(directory):
        ordinal = segment_ordinal(name)
        if ordinal is not None and (ordinal not in found or found[ordinal].endswith(COMPRESSED)):
            found[ordinal] = name
    return dict(sorted(found.items()))


def load_segment(disk: Disk, path: str) -> bytes:
    """
    Return a segment's bytes, uncompressed.
    """
    data = disk.read(path)
    return _uncompressed(data) if path.endswith(COMPRESSED) else data


def _uncompressed(data: bytes) -> bytes:
    """
    Return what can be uncompressed of *data*. Damage costs what lies behind it; hashes and lost positions tell of it.
    """
    unpacked, unpack = bytearray(), zlib.decompressobj(16 + zlib.MAX_WBITS)
    for at in range(0, len(data), UNPACKED_BYTES):
        before, part = unpack.copy(), data[at : at + UNPACKED_BYTES]
        try:
            unpacked += unpack.decompress(part)
        except zlib.error:
            # Once more, byte by byte, up to the one that does not fit.
            with suppress(zlib.error):
                for byte in part:
                    unpacked += before.decompress(bytes([byte]))
            break
    return bytes(unpacked)


def read_segment(
    data: bytes,
    partition: str,
    file: str,
    position_of: Callable[[bytes], Position | None],
    after: Position | None = None,
) -> Iterator[Record | Damage]:
    """
    Yield the records in a segment's bytes, and the damage, behind the record at *after*.

    A frame says itself where it belongs. One whose checksum fits and whose place does not (another partition's, another
    segment's, one that was there before) is damage too, so no position is ever read twice.
    """
    ordinal = segment_ordinal(file)
    last = after

    def place(payload: bytes) -> Position | None:
        position = position_of(payload)
        if position is None or position.partition != partition or position.sequence >> 32 not in {ordinal, 0}:
            return None
        if last is None:
            return position
        forward = position.index > last.index and position.offset > last.offset and position.sequence > last.sequence
        return position if forward else None

    for item in scan(data, 0, place):
        if isinstance(item, Damage):
            yield item
            continue
        frame, last = item
        yield Record(last, frame.payload, file, frame.start)


def stream_segment(
    disk: Disk,
    directory: str,
    file: str,
    partition: str,
    position_of: Callable[[bytes], Position | None],
    *,
    start: int = 0,
    end: int | None = None,
    after: Position | None = None,
) -> Iterator[Record | Damage]:
    """
    Yield what `read_segment` yields of the bytes from *start* to *end*, holding only a window of them at a time.
    """
    path = _where(disk, directory, file)
    if path.endswith(COMPRESSED):
        yield from _shifted(read_segment(load_segment(disk, path)[start:], partition, file, position_of, after), start)
        return
    size = disk.size(path) or 0
    end = size if end is None else min(end, size)
    window = WINDOW_BYTES
    while start < end:
        base, data = start, disk.read(path, start, min(window, end - start))
        window = WINDOW_BYTES
        for item in _shifted(read_segment(data, partition, file, position_of, after), base):
            if isinstance(item, Damage):
                if item.end == base + len(data) < end:
                    # Perhaps only the window ends inside of a frame: look again with more behind it.
                    start, window = item.start, max(WINDOW_BYTES, 2 * (item.end - item.start))
                    break
                start = item.end
            else:
                start, after = item.end, item.position
            yield item
        if not data:
            return


def _where(disk: Disk, directory: str, file: str) -> str:
    """
    Return where a segment is now: the lifecycle may have compressed or archived it since its directory was listed.
    """
    parent, _, name = directory.rpartition("/")
    for place in (directory, f"{parent}/{ARCHIVE}/{name}", f"{parent.removesuffix(ARCHIVE)}{name}"):
        for form in (file, file + COMPRESSED):
            if disk.size(f"{place}/{form}") is not None:
                return f"{place}/{form}"
    return f"{directory}/{file}"


def _shifted(items: Iterator[Record | Damage], base: int) -> Iterator[Record | Damage]:
    for item in items:
        if isinstance(item, Damage):
            yield Damage(item.start + base, item.end + base, item.reason)
        elif base:
            yield replace(item, byte_offset=item.byte_offset + base)
        else:
            yield item
