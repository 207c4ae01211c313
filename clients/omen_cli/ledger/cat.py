import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from omen_cli.ledger.place import Directory, Partition, opened
from omen_cli.options import Output
from omen_rpc.signal_codec import CodecError, decode, encode_json
from omen_server.ledger.names import is_late, late_of
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.partition import Gap
from omen_server.ledger.segment import Record

BUFFER_BYTES = 1 << 16


def cat(
    directory: Directory,
    partition: Partition,
    *,
    after_index: Annotated[int, Parameter(help="Only what lies behind this position.")] = 0,
    late: Annotated[bool, Parameter(negative="", help="The late arrivals of the same day afterwards.")] = False,
    output: Output = "text",
) -> None:
    """
    Print a partition's records in order, and every gap between them, offline or beside a running server.

    With -o jsonl a line a record, the keys of the signal event at its top level; a gap is {"gap": …}. A record that
    nothing proves durable yet says "unproven": true. It changes nothing, and gaps are no error: verify is for that.

    Example: omen ledger cat .omen 2026-01-28 -o jsonl
    """
    with opened(directory) as ledger:
        items = read(ledger, partition, after_index, late=late)
        {"text": print_text, "json": print_json, "jsonl": print_jsonl}[output](items)


def read(ledger: OfflineLedger, partition: str, after_index: int, *, late: bool) -> Iterator[Record | Gap]:
    """
    Yield what is to be printed.
    """
    yield from ledger.read_partition(partition, after_index)
    if late and not is_late(partition) and late_of(partition) in ledger.names():
        yield from ledger.read_partition(late_of(partition))


def print_jsonl(items: Iterator[Record | Gap]) -> None:
    """
    Print a line for each record and gap.
    """
    write(item + b"\n" for item in map(as_json, items))


def print_json(items: Iterator[Record | Gap]) -> None:
    """
    Print one array, as it is read: a partition may be larger than memory.
    """

    def parts() -> Iterator[bytes]:
        before = b"["
        for item in items:
            yield before + as_json(item)
            before = b","
        yield b"[]\n" if before == b"[" else b"]\n"

    write(parts())


def print_text(items: Iterator[Record | Gap]) -> None:
    """
    Print a line for each record and gap, for eyes.
    """
    write(line.encode() + b"\n" for line in map(as_text, items))


def write(parts: Iterator[bytes]) -> None:
    """
    Write to stdout in pieces that are worth a call.
    """
    waiting = bytearray()
    put: Callable[[bytes | bytearray], int] = sys.stdout.buffer.write
    for part in parts:
        waiting += part
        if len(waiting) >= BUFFER_BYTES:
            put(waiting)
            waiting.clear()
    put(waiting)
    sys.stdout.buffer.flush()


def as_json(item: Record | Gap) -> bytes:
    """
    Return one line: the record's own bytes where they are a line of JSON already.
    """
    if isinstance(item, Gap):
        return orjson.dumps({"gap": asdict(item)})
    line = event_json(item.payload)
    if line is None:
        return orjson.dumps({"gap": unreadable(item)})
    return line[:-1] + b',"unproven":true}' if item.unproven else line


def event_json(payload: bytes) -> bytes | None:
    """
    Return a record's signal event as one line of JSON, or None when it holds none.
    """
    try:
        if payload[:1] == b"{" and payload[-1:] == b"}" and b"\n" not in payload:
            orjson.loads(payload)
            return payload
        return encode_json(decode(payload))
    except (orjson.JSONDecodeError, CodecError):
        return None


def unreadable(record: Record) -> dict[str, Any]:
    """
    Return the gap that a record is whose frame is whole and whose payload is no signal event.
    """
    place, reason = record.position, "The frame is whole and holds no signal event"
    numbers = (place.index,) * 2 + (place.sequence,) * 2 + (place.offset,) * 2
    return asdict(Gap(place.partition, *numbers, record.file, record.byte_offset, reason))


def as_text(item: Record | Gap) -> str:
    """
    Return one line for eyes: position, sequence as segment/record, offset, then what the signal is about.
    """
    if isinstance(item, Gap):
        return (
            f"-- gap: positions {item.first_index} to {item.last_index}, {item.file} at byte {item.byte_offset}: "
            f"{item.reason}{' (skipped)' if item.skipped else ''}"
        )
    place = item.position
    where = f"{place.index:>8}  {place.sequence >> 32}/{place.sequence & 0xFFFFFFFF:<6}  {place.offset:>8}"
    line = event_json(item.payload)
    if line is None:
        return f"{where}  -- the frame is whole and holds no signal event"
    event = orjson.loads(line)
    signal = event.get("signal") or {}
    words = [
        event.get("emitted_at", ""),
        event.get("signal_id", ""),
        f"{signal.get('probability', 0):g}",
        signal.get("category", ""),
        signal.get("title", ""),
        *(["(unproven)"] if item.unproven else []),
    ]
    return f"{where}  " + "  ".join(str(word) for word in words)
