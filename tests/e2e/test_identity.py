"""
What the ledger says of a signal is the ledger's, and ids follow from raw events alone.
"""

import json
from pathlib import Path
from typing import Any

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from tests.e2e.command import command
from tests.e2e.pair import emitted, ledger_of, omen, ready, riskcast, varied
from tests.hosting import channel_to

EVENTS = 30
# Field 500, a number: no version has it yet.
UNKNOWN = bytes.fromhex("a01f2a")
FORGED: dict[str, Any] = {
    "ledger_written_at": "1999-12-31T23:59:59Z",
    "ledger_partition": "1999-12-31",
    "ledger_sequence": 424242,
    "ledger_index": 4242,
    "ledger_offset": 42424242,
    "ledger_durable_offset": 42424243,
    "content_digest": "sha256:" + "0" * 64,
}


async def test_every_minted_id_is_verified_and_the_same_on_another_server(tmp_path: Path) -> None:
    """
    Thirty events of all kinds: each id that was minted follows from its record in the ledger, in the order of the
    ledger and by VerifySignal; another OMEN, started later and told the same one by one, mints the same ids.
    """
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    minted: dict[str, str] = {}
    async with omen(one) as (_, near):
        for outcome in await near.submit_all(varied(EVENTS)):
            assert isinstance(outcome, pb.EmitResult), outcome
            if outcome.HasField("event"):
                minted[outcome.event.source_event_id] = outcome.event.signal_id
        assert len(minted) >= EVENTS * 2 // 3, "too many were filtered for this to say much"
        records = await ledger_of(near)
        assert {event.source_event_id: event.signal_id for event in records} == minted
        for event in records:
            for verified in (await near.verify_signal(event), await near.verify_signal(event.signal_id)):
                assert (verified.matches, verified.minted, list(verified.differences)) == (True, True, [])
                assert verified.expected_signal_id == event.signal_id
                assert verified.expected_content_digest == event.content_digest
            event.input_event_hash = "sha256:" + "0" * 64
            assert not (await near.verify_signal(event)).matches
    async with omen(other) as (_, near):
        again: dict[str, str] = {}
        for raw in reversed(varied(EVENTS)):
            result = await near.submit(raw, delivery=pb.DELIVERY_LEDGER)
            if result.HasField("event"):
                again[result.event.source_event_id] = result.event.signal_id
    shared = minted.keys() & again.keys()
    assert len(shared) >= EVENTS * 2 // 3
    assert {name: minted[name] for name in shared} == {name: again[name] for name in shared}


async def test_a_replayed_event_says_nothing_about_the_ledger(tmp_path: Path) -> None:
    """
    Events replayed by the command line with forged ledger fields and a forged digest: the ledger, RiskCast and the
    answer have what the ledger decided, and the digest that follows from the content.
    """
    async with riskcast(tmp_path) as (_, far), omen(tmp_path) as (server, near):
        forged = [
            {**FORGED, "signal_id": ready(number).signal.signal_id, "signal": {"title": f"Signal {number}", **FORGED}}
            for number in range(1, 4)
        ]
        said = b"\n".join(json.dumps(each).encode() for each in forged)
        code, out, err = await command("emit", "-", "--omen", server.address, "-o", "json", said=said)
        assert code == 0, err
        assert "1999" not in out
        records = await ledger_of(near)
        assert [event.ledger_offset for event in records] == [1, 2, 3]
        for event in records:
            check_unforged(event)
            assert (await far.processed(event.signal_id)).event == event
            assert not (await near.verify_signal(event)).differences


async def test_fields_that_nobody_knows_do_not_pass_for_the_ledgers(tmp_path: Path) -> None:
    """
    A request whose bytes carry an envelope's fields, or fields of a newer version, where a signal's belong is taken
    without them: what is answered is what the ledger has.
    """
    async with omen(tmp_path) as (server, near), channel_to(server.address) as channel:
        stub = SignalServiceStub(channel)
        hostile = SignalEvent(ledger_partition="1999-12-31", ledger_sequence=42, ledger_index=42, ledger_offset=42)
        item = ready(1)
        item.signal.MergeFromString(UNKNOWN)
        mixed = pb.EmitSignalItem.FromString(item.SerializeToString() + hostile.SerializeToString())
        request = pb.EmitSignalsRequest(signals=[mixed], delivery=pb.DELIVERY_LEDGER)
        (outcome,) = (await stub.EmitSignals(request, timeout=10)).results
        assert outcome.HasField("result"), outcome
        assert outcome.result.event.SerializeToString() == (await ledger_of(near))[0].SerializeToString()
        request_alone = pb.EmitSignalRequest(signal=ready(2).signal, delivery=pb.DELIVERY_LEDGER)
        alone = pb.EmitSignalRequest.FromString(request_alone.SerializeToString() + hostile.SerializeToString())
        await stub.EmitSignal(alone, timeout=10)
        await emitted(near, [3], delivery=pb.DELIVERY_LEDGER)
        records = await ledger_of(near)
        assert [event.ledger_offset for event in records] == [1, 2, 3]
        for event in records:
            check_unforged(event)


def check_unforged(event: SignalEvent) -> None:
    """
    Hold that nothing in an event is of those who sent it but the signal.
    """
    today = event.emitted_at.ToJsonString()[:10]
    assert event.ledger_partition == today
    assert event.ledger_written_at.seconds >= event.emitted_at.seconds
    assert event.ledger_index == event.ledger_offset < 10
    assert event.ledger_sequence & 0xFFFFFFFF == event.ledger_index
    assert event.content_digest != FORGED["content_digest"]
