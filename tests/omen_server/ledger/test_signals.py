"""
The ledger with the signal codec: the payloads that production writes.
"""

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.position import position_hash
from omen_rpc.signal_codec import PayloadKind, decode, digest_and_prepare, position_of
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.entry import Codec, Entry
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.segment import Record
from tests.crash.records import NOON


def hash_of(payload: bytes) -> tuple[int, int]:
    """
    Return a signal's position hash.
    """
    event = decode(payload)
    return position_hash(event.ledger_partition, event.ledger_index, event.signal_id, event.content_digest)


SIGNALS = Codec(position_of, hash_of, lambda payload: decode(payload).signal_id)


def entry(number: int, kind: PayloadKind) -> Entry:
    """
    Return a signal as a producer hands it in, with forged positions.
    """
    event = SignalEvent(
        schema_version="1.0.0", signal_id=f"OMEN-{number:08d}", ledger_partition="1999-01-01", ledger_sequence=7
    )
    event.emitted_at.FromDatetime(NOON.replace(tzinfo=None))
    event.signal.signal_id = event.signal_id
    event.signal.title = "Red Sea transit disruption"
    event.signal.probability = 0.0
    return Entry(event.emitted_at.ToDatetime(UTC), digest_and_prepare(event, kind))


@pytest.mark.parametrize("kinds", [("json",), ("protobuf",), ("json", "protobuf")], ids=["json", "protobuf", "both"])
async def test_signals_in_their_places(tmp_path: Path, kinds: tuple[PayloadKind, ...]) -> None:
    """
    Signals are read back with the positions the ledger gave them, whatever the sender said, in either form or both.
    """
    async with open_ledger(tmp_path / "ledger", SIGNALS, now=lambda: datetime(2026, 1, 28, 12, tzinfo=UTC)) as ledger:
        positions = await ledger.append([entry(number, kinds[number % len(kinds)]) for number in range(40)])
        fingerprint = await ledger.fingerprint("2026-01-28")
        info = await ledger.partition("2026-01-28")
    assert (info.distinct_signal_ids, fingerprint.count) == (40, 40)
    high = low = 0
    items = list(OfflineLedger(tmp_path / "ledger", SIGNALS).read())
    for number, (item, position) in enumerate(zip(items, positions, strict=True)):
        assert isinstance(item, Record)
        event = decode(item.payload)
        assert event.signal_id == f"OMEN-{number:08d}"
        assert event.signal.HasField("probability")
        assert item.position == position
        assert (event.ledger_partition, event.ledger_sequence) == (position.partition, position.sequence)
        assert (event.ledger_index, event.ledger_offset) == (position.index, position.offset)
        halves = position_hash("2026-01-28", position.index, event.signal_id, event.content_digest)
        high, low = high ^ halves[0], low ^ halves[1]
    assert (fingerprint.high, fingerprint.low) == (high, low)


async def test_segment_is_readable_with_any_tool(tmp_path: Path) -> None:
    """
    A JSON ledger can be read with nothing but the eight header bytes and a JSON parser.
    """
    async with open_ledger(tmp_path / "ledger", SIGNALS, now=lambda: NOON) as ledger:
        await ledger.append([entry(number, "json") for number in range(3)])
    data, found = (tmp_path / "ledger" / "2026-01-28" / "signals-001.wal").read_bytes(), []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(orjson.loads(data[8 : 8 + size]))
        data = data[8 + size :]
    assert [record["ledger_sequence"] for record in found] == [4294967297, 4294967298, 4294967299]
    assert all(record["ledger_partition"] == "2026-01-28" for record in found)
    assert found[0]["signal"]["probability"] == 0.0
