import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen.v1.signal_pb2 import OmenSignal, RawSignalEvent, SignalEvent
from omen_rpc.signal_codec import content_digest
from omen_server import identity
from tests.omen_server.pipeline.raw_events import NOW, market

Change = Callable[[RawSignalEvent], None]


def raw_event() -> RawSignalEvent:
    """
    Return an event in which every field says something.
    """
    raw = market(description="Will it be closed?")
    raw.market.volume_24h_usd = 1.0
    raw.market.spread = 0.02
    raw.market.traders = 70
    raw.market.negative_risk = False
    raw.location.latitude = 20.0
    raw.location.longitude = 38.0
    raw.location.name = "Red Sea"
    raw.location.country = "SA"
    raw.location.locode = "SAJED"
    raw.attributes.update({"slug": "red-sea", "nested": {"a": [1, True, None], "b": "x"}, "updated_at": "2026-01-28"})
    raw.fetched_at.FromDatetime(NOW)
    return raw


def test_generate_deterministic_trace_id_same() -> None:
    """
    The trace id of the seeds' vector is the one of the seeds.
    """
    assert identity.trace_id("evt-001", "sha256:abc123", "1.0.0") == "f7c763a8243638bb"


def test_signal_id_derived_from_trace_id() -> None:
    """
    A signal's id follows from its trace id.
    """
    assert identity.signal_id("f7c763a8243638bb") == "OMEN-F7C763A82436"


@pytest.mark.parametrize("at", range(3))
def test_generate_deterministic_trace_id_different(at: int) -> None:
    """
    Another event, another hash and another ruleset each give another id.
    """
    parts = ["evt-001", "sha256:abc123", "1.0.0"]
    parts[at] += "0"
    assert identity.trace_id(*parts) != "f7c763a8243638bb"


def test_hash_golden() -> None:
    """
    The hash of an event is the same in every process and release.
    """
    raw = RawSignalEvent(source="stub", source_event_id="evt-001", title="Rød Sø", probability=0.5)
    assert identity.input_event_hash(raw) == "sha256:3fddaacc7eb2693bd47ea046753b56902129cbf55e655c6cb39f6fe238083330"


def test_hash_is_canonical_json() -> None:
    """
    Anyone can compute the hash: SHA-256 of JSON with sorted keys, in UTF-8, without what identifies nothing.
    """
    raw = RawSignalEvent(
        source="stub", source_event_id="evt-001", title="Rød Sø", probability=0.5, url="https://a.example"
    )
    raw.market.end_at.seconds = 7
    raw.attributes.update({"b": 1, "a": [None, "x"], "seen_at": "now"})
    said = {
        "source": "stub",
        "source_event_id": "evt-001",
        "title": "Rød Sø",
        "probability": 0.5,
        "market": {"end_at": [7, 0]},
        "attributes": {"a": [None, "x"], "b": 1.0},
    }
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert identity.input_event_hash(raw) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def scalar_changes() -> list[tuple[str, Change]]:
    """
    Return one change for each field of an event, its market and its place.
    """
    changes: list[tuple[str, Change]] = []
    for part in ("", "market", "location"):
        message = getattr(RawSignalEvent(), part) if part else RawSignalEvent()
        changes.extend(
            (f"{part}.{field.name}", changer(part, field.name, is_list=field.is_repeated))
            for field in message.DESCRIPTOR.fields
            if field.message_type is None and (part or field.name not in identity.NOT_HASHED)
        )
    return changes


def changer(part: str, name: str, *, is_list: bool) -> Change:
    """
    Return what changes one field to another value.
    """

    def change(raw: RawSignalEvent) -> None:
        message = getattr(raw, part) if part else raw
        value = getattr(message, name)
        if is_list:
            value.append(value[0])
        elif isinstance(value, bool):
            setattr(message, name, not value)
        else:
            setattr(message, name, value + ("x" if isinstance(value, str) else 1))

    return change


@pytest.mark.parametrize(("name", "change"), scalar_changes())
def test_every_hashed_field_counts(name: str, change: Change) -> None:
    """
    A change of any field that identifies an event gives another hash.
    """
    raw = raw_event()
    before = identity.input_event_hash(raw)
    change(raw)
    assert identity.input_event_hash(raw) != before, name


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.market.end_at.FromDatetime(datetime(2027, 1, 1, tzinfo=UTC)),
        lambda raw: raw.attributes.update({"slug": "other"}),
        lambda raw: raw.attributes.update({"added": None}),
        lambda raw: raw.attributes["nested"].update({"b": "y"}),
        lambda raw: raw.attributes["nested"]["a"].append(2),
        lambda raw: raw.ClearField("probability"),
        lambda raw: raw.market.ClearField("negative_risk"),
    ],
)
def test_every_hashed_message_counts(change: Change) -> None:
    """
    So does a change deep inside, and what is no longer said.
    """
    raw = raw_event()
    before = identity.input_event_hash(raw)
    change(raw)
    assert identity.input_event_hash(raw) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.observed_at.FromDatetime(datetime(2027, 1, 1, tzinfo=UTC)),
        lambda raw: raw.fetched_at.FromDatetime(datetime(2027, 1, 1, tzinfo=UTC)),
        lambda raw: raw.ClearField("observed_at"),
        lambda raw: setattr(raw, "provenance", 1),
        lambda raw: setattr(raw, "url", "https://elsewhere.example"),
        lambda raw: setattr(raw, "licence", "another"),
        *(
            lambda raw, key=key: raw.attributes.update({key: "2027-01-01"})
            for key in ("fetched_at", "observed_at", "seen_at", "updated_at")
        ),
    ],
)
def test_generate_deterministic_trace_id_no_timestamp(change: Change) -> None:
    """
    The same market seen at another time, or by another way, has the same hash.
    """
    raw = raw_event()
    before = identity.input_event_hash(raw)
    change(raw)
    assert identity.input_event_hash(raw) == before


def test_hashed_and_not_hashed_are_all() -> None:
    """
    Nobody adds a field to raw events without deciding whether it identifies them.
    """
    assert {*identity.HASHED, *identity.NOT_HASHED} == {field.name for field in RawSignalEvent.DESCRIPTOR.fields}
    assert not {*identity.HASHED} & {*identity.NOT_HASHED}


def test_empty_attributes_are_none() -> None:
    """
    An event whose attributes only say when it was seen hashes as one without attributes.
    """
    raw = RawSignalEvent(source="gdelt", title="x")
    before = identity.input_event_hash(raw)
    raw.attributes.update({"seen_at": "2026-01-28"})
    assert identity.input_event_hash(raw) == before


@given(st.permutations(["alpha", "beta", "gamma", "delta", "é", "z"]), st.permutations(["a", "b", "c"]))
def test_key_order_is_irrelevant(keys: list[str], inner: list[str]) -> None:
    """
    The order in which attributes were set makes no difference, at any depth.
    """
    raw, sorted_raw = RawSignalEvent(source="stub"), RawSignalEvent(source="stub")
    for target, outer_keys, inner_keys in ((raw, keys, inner), (sorted_raw, sorted(keys), sorted(inner))):
        for key in outer_keys:
            target.attributes.get_or_create_struct(key).update({name: [{name: 1.5}] for name in inner_keys})
    assert identity.input_event_hash(raw) == identity.input_event_hash(sorted_raw)


def test_zero_is_not_unset() -> None:
    """
    A probability of 0 is another event than one without, and -0.0 is 0.
    """
    unset, zero, minus = (RawSignalEvent(source="stub", title="x") for _ in range(3))
    zero.probability = 0.0
    minus.probability = -0.0
    assert identity.input_event_hash(unset) != identity.input_event_hash(zero)
    assert identity.input_event_hash(minus) == identity.input_event_hash(zero)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, 5e-324])
def test_nonsense_has_a_hash(value: float) -> None:
    """
    What no rule will pass is hashed all the same, so that it can be counted and kept.
    """
    raw = RawSignalEvent(source="stub", probability=value)
    raw.market.outcome_prices.append(value)
    raw.market.end_at.seconds = 1 << 62
    raw.attributes.update({"z": value})
    assert identity.input_event_hash(raw) == identity.input_event_hash(raw)


@pytest.mark.parametrize("seed", ["0", "4242"])
def test_hash_in_another_process(seed: str) -> None:
    """
    The seed of Python's own hashes moves nothing.
    """
    raw = raw_event()
    code = (
        "import sys\nfrom omen.v1.signal_pb2 import RawSignalEvent\nfrom omen_server import identity\n"
        "print(identity.input_event_hash(RawSignalEvent.FromString(sys.stdin.buffer.read())))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        input=raw.SerializeToString(),
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert answer.stdout.decode().strip() == identity.input_event_hash(raw)


def minted() -> SignalEvent:
    """
    Return an event whose ids follow from it.
    """
    version = "1.0.0+0123456789ab"
    trace = identity.trace_id("evt-001", "sha256:" + "ab" * 32, version)
    event = SignalEvent(
        schema_version="1.0.0",
        signal_id=identity.signal_id(trace),
        deterministic_trace_id=trace,
        input_event_hash="sha256:" + "ab" * 32,
        source_event_id="evt-001",
        ruleset_version=version,
        signal=OmenSignal(
            signal_id=identity.signal_id(trace),
            source_event_id="evt-001",
            title="Red Sea transit disruption",
            trace_id=trace,
            ruleset_version=version,
        ),
    )
    event.content_digest = content_digest(event)
    return event


def test_verify_minted() -> None:
    """
    What OMEN minted is derived again from the envelope alone, and matches.
    """
    event = minted()
    answer = identity.verify(event)
    assert answer.matches
    assert answer.minted
    assert not answer.differences
    assert answer.expected_signal_id == event.signal_id
    assert answer.expected_trace_id == event.deterministic_trace_id
    assert answer.expected_content_digest == event.content_digest
    assert answer.event == event


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda event: setattr(event, "source_event_id", "evt-002"), "signal_id"),
        (lambda event: setattr(event, "input_event_hash", "sha256:" + "ac" * 32), "signal_id"),
        (lambda event: setattr(event, "ruleset_version", "1.0.0+0123456789ac"), "deterministic_trace_id"),
        (lambda event: setattr(event, "signal_id", "OMEN-000000000000"), "signal_id"),
        (lambda event: setattr(event, "deterministic_trace_id", "0" * 16), "deterministic_trace_id"),
        (lambda event: setattr(event.signal, "signal_id", "OMEN-000000000000"), "signal.signal_id"),
        (lambda event: setattr(event.signal, "source_event_id", ""), "signal.source_event_id"),
        (lambda event: setattr(event.signal, "trace_id", "0" * 16), "signal.trace_id"),
        (lambda event: setattr(event.signal, "ruleset_version", "2"), "signal.ruleset_version"),
        (lambda event: setattr(event.signal, "title", "Another"), "content_digest"),
        (lambda event: setattr(event.signal, "probability", 0.1), "content_digest"),
        (lambda event: setattr(event, "content_digest", ""), "content_digest"),
    ],
)
def test_verify_names_what_differs(change: Callable[[SignalEvent], None], named: str) -> None:
    """
    Whatever was changed after minting is found, and the sentence names the field.
    """
    event = minted()
    change(event)
    answer = identity.verify(event)
    assert not answer.matches
    assert any(sentence.startswith(f"{named} is ") for sentence in answer.differences), answer.differences


def test_verify_upstream_id() -> None:
    """
    An upstream's own id has no derivation to check; its digest has.
    """
    event = SignalEvent(
        signal_id="OMEN-DEMO001ABCD", deterministic_trace_id="a1b2c3d4e5f6g7h8", ruleset_version="1.0.0"
    )
    event.signal.signal_id = "OMEN-DEMO001ABCD"
    event.content_digest = content_digest(event)
    answer = identity.verify(event)
    assert answer.matches
    assert not answer.minted
    event.signal.title = "Another"
    assert not identity.verify(event).matches


def test_verify_upstream_that_derives() -> None:
    """
    Ids that follow from the envelope are minted ones, also where the hash is as short as the seeds'.
    """
    event = SignalEvent(
        signal_id="OMEN-F7C763A82436",
        deterministic_trace_id="f7c763a8243638bb",
        input_event_hash="sha256:abc123",
        source_event_id="evt-001",
        ruleset_version="1.0.0",
    )
    assert identity.verify(event).minted


def test_verify_nonsense() -> None:
    """
    Content that has no canonical form is a difference, not a failure.
    """
    event = minted()
    event.signal.probability = float("nan")
    answer = identity.verify(event)
    assert not answer.matches
    assert answer.differences == ["The content has no digest: signal.probability: nan is not a number of JSON"]
