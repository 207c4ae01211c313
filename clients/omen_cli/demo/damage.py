"""
Damage done on purpose, to copies only: a bit turned over, a tail cut off.
"""

import shutil
from pathlib import Path
from zlib import crc32

from omen_cli.demo.claims import Step
from omen_server.ledger.audit import Verdict
from omen_server.ledger.offline import OfflineLedger
from omen_server.records import SIGNALS

HEADER_BYTES = 8
FLIPPED_RECORD = 3
TITLE = b'"title":"'


def intact(step: Step, ledger: Path, partition: str) -> None:
    """
    See that a partition passes its verification.
    """
    verdict = verified(ledger, partition)
    step.saw("partition", verdict.partition, partition)
    step.saw("faults", verdict.fault_count, 0)
    step.measured.update(records=verdict.record_count, merkle_root=verdict.merkle_root)


def bit_flip(step: Step, place: Path, partition: str) -> None:
    """
    Turn over one bit in a copy of a ledger; see that its place is told, and that nothing else is.
    """
    original, copy = place / "ledger", place / "copy" / "ledger"
    shutil.copytree(original, copy)
    segment = copy / partition / "signals-001.wal"
    before = segment.read_bytes()
    starts = frames(before)
    start = starts[FLIPPED_RECORD - 1]
    # In the title, so that it stays JSON: nothing but the checksum can tell.
    at = before.index(TITLE, start) + len(TITLE)
    spoiled = bytearray(before)
    spoiled[at] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(spoiled)
    verdict = verified(copy, partition)
    step.saw("faults", verdict.fault_count, 1)
    (fault,) = verdict.faults
    step.saw("partition", fault.partition, partition)
    step.saw("file", fault.file, "signals-001.wal")
    step.saw("sequence", fault.sequence, (1 << 32) | FLIPPED_RECORD)
    step.holds(fault.byte_offset == start, f"it says byte {fault.byte_offset}, and the frame begins at {start}")
    step.measured.update(byte_offset=fault.byte_offset, flipped_byte=at, reason=fault.reason)
    step.saw("original_intact", verified(original, partition).intact, True)


def verified(ledger: Path, partition: str) -> Verdict:
    """
    Return what the offline verification says of a partition.
    """
    for each in OfflineLedger(ledger, SIGNALS).verify(partition):
        if isinstance(each, Verdict):
            return each
    raise OSError("the verification ended without a verdict")


def frames(data: bytes) -> list[int]:
    """
    Return where the frames of an undamaged segment begin, told from its bytes by themselves: length, CRC-32, payload.
    """
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        payload = data[at + HEADER_BYTES : at + HEADER_BYTES + length]
        if crc32(payload) != int.from_bytes(data[at + 4 : at + HEADER_BYTES], "big"):
            raise OSError(f"the frame at byte {at} is damaged")
        found.append(at)
        at += HEADER_BYTES + length
    return found
