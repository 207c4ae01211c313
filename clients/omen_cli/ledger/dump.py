from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

from cyclopts import Parameter

from omen_cli.ledger.place import Directory, Partition, opened
from omen_cli.options import Output
from omen_cli.output import Row, print_rows
from omen_server.ledger.format import HEADER_BYTES, decode_header
from omen_server.ledger.frames import RawFrame
from omen_server.ledger.offline import OfflineLedger

LINE_BYTES = 16
FRAMES_MAX = 10_000


def dump(
    directory: Directory,
    partition: Partition,
    *,
    after_index: Annotated[int, Parameter(help="Only frames behind this position.")] = 0,
    max_frames: Annotated[int, Parameter(help=f"The most frames, up to {FRAMES_MAX:,}.")] = 10,
    output: Output = "text",
) -> None:
    """
    Show frames as they lie on disk, in hex, the eight header bytes decoded; damaged ones too.

    Works offline and beside a running server, and changes nothing.

    Example: omen ledger dump .omen 2026-01-28 --max-frames 1
    """
    with opened(directory) as ledger:
        frames = ledger.frames(partition, after_index, max(0, min(max_frames, FRAMES_MAX)))
        rows = [row_of(frame) for frame in frames]
        if frames and len(frames) < max_frames and is_in_flight(ledger, partition, frames[-1]):
            rows[-1]["in_flight"] = True
    if output != "text":
        print_rows(output, rows, ())
        return
    for line in text(partition, frames, rows):
        print(line)


def is_in_flight(ledger: OfflineLedger, partition: str, last: RawFrame) -> bool:
    """
    Tell whether the last bytes of a ledger that somebody writes may be a frame that is being written right now.
    """
    info = ledger.partition(partition)
    newest = info.segments[-1].file if info.segments else ""
    return not last.checksum_matches and not info.is_sealed and Path(last.file).name == newest and ledger.is_live()


def row_of(frame: RawFrame) -> dict[str, Any]:
    """
    Return one frame with its header decoded; a header that is cut short states nothing.
    """
    whole = len(frame.header) == HEADER_BYTES
    length, checksum = decode_header(frame.header) if whole else (None, None)
    return {
        "file": frame.file,
        "byte_offset": frame.byte_offset,
        "ledger_sequence": frame.sequence,
        "ledger_index": frame.index,
        "header": frame.header.hex(" "),
        "length": length,
        "crc32": f"0x{checksum:08x}" if checksum is not None else None,
        "checksum_matches": frame.checksum_matches,
        "payload": frame.payload.hex(),
    }


def text(partition: str, frames: Sequence[RawFrame], rows: Sequence[Row]) -> Iterator[str]:
    """
    Yield frames in the manner of hexdump, addresses counted from the beginning of the file.
    """
    for frame, row in zip(frames, rows, strict=True):
        sequence = f"{frame.sequence} ({frame.sequence >> 32}/{frame.sequence & 0xFFFFFFFF})"
        yield f"{partition}/{frame.file}  byte {frame.byte_offset}  sequence {sequence}  index {frame.index}"
        yield from header_lines(frame, row)
        body = frame.byte_offset + HEADER_BYTES
        for at in range(0, len(frame.payload), LINE_BYTES):
            yield hex_line(body + at, frame.payload[at : at + LINE_BYTES])
        yield ""


def header_lines(frame: RawFrame, row: Row) -> Iterator[str]:
    """
    Yield the header's two numbers, each beside its bytes.
    """
    if row["length"] is None:
        yield f"{frame.byte_offset:08x}  {frame.header.hex(' ')}  a header that is cut short"
        return
    if frame.checksum_matches:
        verdict = "fits the payload"
    elif row.get("in_flight"):
        verdict = "in flight: a writer is at work"
    else:
        verdict = f"DAMAGED: the bytes shown have 0x{crc32(frame.payload):08x}"
    yield f"{frame.byte_offset:08x}  {frame.header[:4].hex(' ')}  length  {row['length']}, big-endian"
    yield f"{frame.byte_offset + 4:08x}  {frame.header[4:].hex(' ')}  CRC-32  {row['crc32']}, {verdict}"


def hex_line(address: int, data: bytes) -> str:
    """
    Return one line of hexdump -C.
    """
    halves = f"{data[:8].hex(' '):<23}  {data[8:].hex(' '):<23}"
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{address:08x}  {halves}  |{shown}|"
