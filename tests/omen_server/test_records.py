import pytest
from hypothesis import given

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.position import Position
from omen_rpc.signal_codec import PayloadKind, decode, position_hash, prepare
from omen_server.records import SIGNALS, entry_of
from tests.ledgers import NOON, event
from tests.omen_rpc.signal_events import EVENTS, POSITIONS, RED_SEA


@pytest.mark.parametrize("kind", ["json", "protobuf"])
@given(signal=EVENTS, position=POSITIONS)
def test_short_cuts_say_what_decoding_says(kind: PayloadKind, signal: SignalEvent, position: Position) -> None:
    """
    Id and hash read from the beginning of a payload are those of the decoded event, whatever its texts hold.
    """
    payload = prepare(signal, kind).stamp(position)
    whole = decode(payload)
    assert SIGNALS.signal_id(payload) == whole.signal_id
    expected = position_hash(whole.ledger_partition, whole.ledger_index, whole.signal_id, whole.content_digest)
    assert SIGNALS.position_hash(payload) == expected


@pytest.mark.parametrize("title", ['","signal_id":"OMEN-FAKE', '\\","ledger_index":9,"x":"', "\u2028", '"'])
@given(position=POSITIONS)
def test_text_does_not_pass_for_fields(title: str, position: Position) -> None:
    """
    A text that looks like the fields behind it fools neither short cut.
    """
    signal = event(1)
    signal.source_event_id = signal.signal.title = title
    payload = entry_of(signal, "json").record.stamp(position)
    assert SIGNALS.signal_id(payload) == signal.signal_id
    whole = decode(payload)
    assert SIGNALS.position_hash(payload) == position_hash(
        position.partition, position.index, signal.signal_id, whole.content_digest
    )


def test_records_of_the_seeds_are_read() -> None:
    """
    JSON that is spaced and ordered otherwise is decoded.
    """
    assert SIGNALS.signal_id(RED_SEA) == "OMEN-DEMO001ABCD"
    assert SIGNALS.position_hash(RED_SEA) == position_hash("2026-01-28", 0, "OMEN-DEMO001ABCD", "")


def test_the_day_is_that_of_emitted_at_in_utc() -> None:
    """
    An entry's time has its offset from UTC, and is the event's.
    """
    assert entry_of(event(1), "json").emitted_at == NOON
