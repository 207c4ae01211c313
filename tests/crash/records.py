"""
Small records of the shape that the ledger asks for, for tests that do not care what a signal is.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from omen_rpc.json_values import CodecError
from omen_rpc.position import Position
from omen_server.ledger.entry import Codec, Entry

NOON = datetime(2026, 1, 28, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Note:
    """
    A record that holds an id and a text.
    """

    signal_id: str
    text: str = ""

    def stamp(self, position: Position) -> bytes:
        """
        Return the record's canonical JSON at *position*.
        """
        return orjson.dumps(
            {
                "ledger_partition": position.partition,
                "ledger_sequence": position.sequence,
                "ledger_index": position.index,
                "ledger_offset": position.offset,
                "ledger_durable_offset": position.durable_offset,
                "ledger_written_at": position.written_at,
                "signal_id": self.signal_id,
                "text": self.text,
            }
        )


def position_of(payload: bytes) -> Position | None:
    """
    Return the position in a note's bytes, or None for other bytes.
    """
    try:
        fields = orjson.loads(payload)
        return Position(
            fields["ledger_partition"],
            fields["ledger_sequence"],
            fields["ledger_index"],
            fields["ledger_offset"],
            fields["ledger_durable_offset"],
            fields["ledger_written_at"],
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, CodecError):
        return None


def position_hash(payload: bytes) -> tuple[int, int]:
    """
    Return two halves of a hash over the payload.
    """
    digest = hashlib.blake2b(payload, digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def signal_id(payload: bytes) -> str:
    """
    Return the id in a note's bytes.
    """
    return str(orjson.loads(payload)["signal_id"])


NOTES = Codec(position_of, position_hash, signal_id)


def note(number: int, emitted_at: datetime = NOON, text: str = "") -> Entry:
    """
    Return the n-th note as a producer hands it in.
    """
    return Entry(emitted_at, Note(f"OMEN-{number:06d}", text))
