"""
Where a record lies, read from its bytes without decoding it, whoever wrote them.
"""

import json

import pytest

from omen_rpc.signal_codec import decode, encode_json, position_of, prepare
from tests.omen_rpc.signal_events import HERE, RED_SEA, RED_SEA_CANONICAL, at

STAMP = (
    '"ledger_written_at":"2026-01-28T10:00:05.123456789Z","ledger_partition":"2026-01-28",'
    '"ledger_sequence":4294967297,"ledger_index":1,"ledger_offset":1'
)


@pytest.mark.parametrize("stamped", [True, False])
def test_position_of_is_not_fooled(stamped: bool) -> None:
    """
    No text, unknown key or map key can pass for the stamp, whether the record has one or not.
    """
    fake = STAMP.replace(":1", ":5")
    event = decode(RED_SEA.replace(b'"ledger_sequence": 1,', b'"ledger_sequence": 1, "a": {' + fake.encode() + b"},"))
    event.source_event_id = f'x",{fake},"y":"'
    event.ruleset_version = f'\\",{fake},'
    event.signal.title = f'"}},{fake}'
    event.signal.validation.add().parameters[f'a",{fake}'] = 1
    event.ClearField("ledger_written_at")
    payload = prepare(event, "json").stamp(HERE) if stamped else encode_json(event)
    assert position_of(payload) == (HERE if stamped else None)


@pytest.mark.parametrize("before", ["", '"signal_id":"x",', '"b":1,', '"signal_id":"x\\"",'])
@pytest.mark.parametrize("within", ["signal", "a"])
def test_position_of_nested_stamp(before: str, within: str) -> None:
    """
    A whole stamp inside another object, written by someone else in any order, is no stamp.
    """
    assert position_of(f"{{{before}{STAMP}}}".encode()) == HERE
    assert position_of(f'{{{before}"{within}":{{{STAMP}}}}}'.encode()) is None
    assert position_of(f'{{"{within}":{{{before}{STAMP}}}}}'.encode()) is None


def test_position_of_another_order() -> None:
    """
    A record in another order than ours, or with spaces, is read as well.
    """
    record = json.loads(prepare(decode(RED_SEA), "json").stamp(HERE))
    backwards = dict(reversed(record.items()))
    assert position_of(json.dumps(backwards).encode()) == HERE
    assert position_of(at(decode(RED_SEA), HERE).SerializeToString()) == HERE


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ('"ledger_index":1', '"ledger_index":0'),
        ('"ledger_index":1', '"ledger_index":-1'),
        ('"ledger_index":1', '"ledger_index":18446744073709551616'),
        ('"ledger_index":1,', ""),
        ('"ledger_offset":1', '"ledger_offset":01'),
        ('"ledger_partition":"2026-01-28",', '"ledger_partition":"elsewhere",'),
        ("05.123456789Z", "65.123456789Z"),
        ("05.123456789Z", "05.123456789"),
        ('"ledger_sequence":4294967297', '"ledger_sequence":4294967297e0'),
        ('"}}', '"}'),
        ('"}}', '"'),
        ('{"schema_version"', '["schema_version"'),
    ],
)
def test_position_of_what_is_no_record(said: str, instead: str) -> None:
    """
    A record without a whole and possible position has none.
    """
    payload = prepare(decode(RED_SEA), "json").stamp(HERE).decode()
    assert position_of(payload.encode()) == HERE
    assert said in payload
    broken = payload.replace(said, instead)
    # The end is not looked at beyond its brace: the frame's CRC vouches for it.
    assert position_of(broken.encode()) == (HERE if instead == '"}' else None)


def test_position_of_the_oldest_records() -> None:
    """
    Records from before there were indexes and offsets have no position.
    """
    assert position_of(RED_SEA) is None
    assert position_of(RED_SEA_CANONICAL) is None
