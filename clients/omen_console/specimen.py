"""
A copy of the beginning of a partition, in a temporary directory, to be damaged and read with the ledger's own code.

The frames come from the server; the real ledger is never opened, let alone written.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from omen.v1.ledger_service_pb2 import RawFrame

HEADER_BYTES: Final = 8


class NothingToCopy(Exception):
    """
    There is no frame to make a specimen of, or none where the damage was to be done; says which.
    """


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that is wrong in a specimen, with its exact place.
    """

    kind: str
    partition: str
    ledger_sequence: int
    ledger_index: int
    file: str
    byte_offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What reading a specimen brought: how many records, what was left out and why, and what verifying says.
    """

    records: int
    size_bytes: int
    warnings: Sequence[str]
    faults: Sequence[Fault]


@dataclass(frozen=True, slots=True)
class Experiment:
    """
    A specimen before and after something was done to it.
    """

    done: str
    before: Reading
    after: Reading
    frame: RawFrame | None = None
    damaged_at: int = 0


def truncate(partition: str, frames: Sequence[RawFrame], cut_bytes: int) -> Experiment:
    """
    Cut bytes from the end of a copy, as a crash in mid-write leaves it, and read it before and after.
    """
    with copied(partition, frames) as root:
        before, last = read(root, partition), frames[-1]
        path, length = root / partition / last.file, HEADER_BYTES + len(last.payload)
        cut = min(max(1, cut_bytes), length - 1)
        with path.open("r+b") as file:
            file.truncate(last.byte_offset + length - cut)
        done = f"The last {cut:,} bytes of {last.file} were cut off, inside the frame of position {last.ledger_index}."
        return Experiment(done, before, read(root, partition), last)


def flip(partition: str, frames: Sequence[RawFrame], index: int, byte: int, bit: int) -> Experiment:
    """
    Flip one bit of a frame in a copy, and read it before and after. Byte 0 is the header's first.
    """
    frame = next((each for each in frames if each.ledger_index == index), None)
    if frame is None:
        raise NothingToCopy(f"Position {index} is not among the frames of the copy.")
    byte = min(max(0, byte), HEADER_BYTES + len(frame.payload) - 1)
    with copied(partition, frames) as root:
        before = read(root, partition)
        with (root / partition / frame.file).open("r+b") as file:
            file.seek(frame.byte_offset + byte)
            old = file.read(1)[0]
            file.seek(frame.byte_offset + byte)
            file.write(bytes([old ^ (1 << bit)]))
        what = "payload" if byte >= HEADER_BYTES else "checksum" if byte >= 4 else "length"
        done = (
            f"Bit {bit} of byte {frame.byte_offset + byte:,} of {frame.file} was flipped: in the {what} of position"
            f" {index}, {old:#04x} became {old ^ (1 << bit):#04x}."
        )
        return Experiment(done, before, read(root, partition), frame, byte)


@contextmanager
def copied(partition: str, frames: Sequence[RawFrame]) -> Iterator[Path]:
    """
    Write frames where they lie in the ledger, from its first byte on, into a directory that goes with the block.
    """
    if not frames:
        raise NothingToCopy("The partition holds no frames yet.")
    with TemporaryDirectory(prefix="omen-specimen-") as place:
        root = Path(place)
        (root / partition).mkdir()
        for frame in frames:
            with (root / partition / frame.file).open("ab") as file:
                if file.tell() != frame.byte_offset:
                    raise NothingToCopy(f"The frames before byte {frame.byte_offset} of {frame.file} are not here.")
                file.write(frame.header + frame.payload)
        yield root


def read(root: Path, partition: str) -> Reading:
    """
    Read and verify a specimen with the ledger's own code.
    """
    from omen_rpc.position import position_hash  # noqa: PLC0415 - as below
    from omen_rpc.signal_codec import decode, position_of  # noqa: PLC0415 - as below
    from omen_server.ledger import audit  # noqa: PLC0415 - the console starts without the ledger's code
    from omen_server.ledger.durable import Disk  # noqa: PLC0415 - as above
    from omen_server.ledger.entry import Codec  # noqa: PLC0415 - as above
    from omen_server.ledger.format import Damage  # noqa: PLC0415 - as above
    from omen_server.ledger.segment import read_segment  # noqa: PLC0415 - as above

    def hash_of(payload: bytes) -> tuple[int, int]:
        event = decode(payload)
        return position_hash(event.ledger_partition, event.ledger_index, event.signal_id, event.content_digest)

    codec = Codec(position_of, hash_of, lambda payload: decode(payload).signal_id)
    records, size_bytes, warnings, last = 0, 0, [], None
    for path in sorted((root / partition).iterdir()):
        data = path.read_bytes()
        size_bytes += len(data)
        for item in read_segment(data, partition, path.name, position_of, last):
            if isinstance(item, Damage):
                end = "truncating" if item.end == len(data) else "left out"
                warnings.append(f"{item.reason}, {path.name} bytes {item.start:,} to {item.end:,}: {end}")
            else:
                records, last = records + 1, item.position
    faults: list[Fault] = []
    for found in audit.verify(Disk(), str(root), partition, codec):
        if isinstance(found, audit.Verdict):
            faults = [
                Fault(each.kind, each.partition, each.sequence, each.index, each.file, each.byte_offset, each.reason)
                for each in found.faults
            ]
    return Reading(records, size_bytes, warnings, faults)
