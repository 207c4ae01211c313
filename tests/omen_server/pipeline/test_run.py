import os
import random
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import OmenSignal, RawSignalEvent, SignalEvent
from omen_rpc.signal_codec import content_digest, decode_json, encode_json
from omen_rpc.signal_rules import check_event
from omen_server import identity
from omen_server.pipeline.history import Point, key_of
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.run import Outcome, run, run_batch
from omen_server.pipeline.snapshot import Snapshot, peer_of
from tests.omen_server.pipeline import golden
from tests.omen_server.pipeline.raw_events import NOTHING_KNOWN, NOW, RULES, article, market, price, report, transits


def signals(outcomes: list[Outcome]) -> list[SignalEvent]:
    """
    Return the signals of those that passed.
    """
    return [outcome.event for outcome in outcomes if outcome.event is not None]


def test_golden() -> None:
    """
    One event of each kind becomes exactly the signal that was reviewed.
    """
    assert golden.judged().decode() == golden.FILE.read_text()


def test_most_of_the_golden_pass() -> None:
    """
    Of the golden batch only the football match is filtered.
    """
    outcomes = run_batch(golden.batch(), RULES, NOW)
    assert [outcome.rejected_by for outcome in outcomes if not outcome.passed] == ["semantic"]
    assert len(signals(outcomes)) == len(outcomes) - 1


@pytest.mark.parametrize(
    ("title", "category", "level"),
    [
        ("Red Sea transit disruption", signal_pb2.SIGNAL_CATEGORY_GEOPOLITICAL, signal_pb2.CONFIDENCE_LEVEL_HIGH),
        ("Suez canal delay probability", signal_pb2.SIGNAL_CATEGORY_INFRASTRUCTURE, signal_pb2.CONFIDENCE_LEVEL_HIGH),
    ],
)
def test_demo_titles(title: str, category: int, level: int) -> None:
    """
    The seeds' titles come out as in the seeds.
    """
    event = run(market(title), RULES, NOTHING_KNOWN).event
    assert event is not None
    assert (event.signal.category, event.signal.confidence_level) == (category, level)


@pytest.mark.parametrize("at", range(12))
def test_signals_are_complete(at: int) -> None:
    """
    A signal has all that the contract promises, is well formed, and verifies once it has its digest.
    """
    raw = golden.batch()[at]
    event = run_batch(golden.batch(), RULES, NOW)[at].event
    if event is None:
        assert raw.title == "Euro 2028 winner"
        return
    signal = event.signal
    assert event.schema_version == "1.0.0"
    assert event.observed_at == raw.observed_at
    assert signal.title == raw.title
    assert signal.probability_method
    assert signal.probability_is_estimate is (raw.source != "polymarket")
    assert signal.HasField("confidence_half_width")
    assert signal.HasField("context")
    assert signal.context.HasField("temporal")
    assert signal.evidence
    assert signal.routing_hints
    assert len(signal.validation) == 14
    assert signal.context_digest.startswith("sha256:")
    assert signal.generated_at.ToDatetime(NOW.tzinfo) == NOW
    event.content_digest = content_digest(event)
    answer = identity.verify(event)
    assert answer.matches, answer.differences
    assert answer.minted
    event.emitted_at.FromDatetime(NOW)
    assert not list(check_event(event, "event"))
    assert decode_json(encode_json(event)) == event


def test_price_without_probability() -> None:
    """
    A price's move becomes a signal without a probability, never with an invented one.
    """
    event = run(price(), RULES, NOTHING_KNOWN).event
    assert event is not None
    assert not event.signal.HasField("probability")
    assert event.signal.probability_is_estimate
    assert event.signal.probability_method == "context_only"


def test_missing_price_is_filtered() -> None:
    """
    A market without a price becomes no signal.
    """
    raw = market()
    raw.ClearField("probability")
    outcome = run(raw, RULES, NOTHING_KNOWN)
    assert (outcome.event, outcome.rejected_by) == (None, "market_state")
    assert outcome.reason == "The market says no price"


def test_zero_stays_zero() -> None:
    """
    A probability of 0 reaches the signal as 0, and -0.0 too.
    """
    rules = replace(RULES, anomaly=replace(RULES.anomaly, extreme_low=0.0))
    for nothing in (0.0, -0.0):
        raw = market(probability=nothing, figures={"outcome_prices": [0.0, 1.0]})
        event = run(raw, rules, NOTHING_KNOWN).event
        assert event is not None
        assert event.signal.HasField("probability")
        assert str(event.signal.probability) == "0.0"


@given(st.permutations(range(12)))
def test_batch_order_is_irrelevant(order: list[int]) -> None:
    """
    A batch in any order gives the same signals, to the byte.
    """
    batch = golden.batch()
    expected = run_batch(batch, RULES, NOW)
    shuffled = run_batch([batch[at] for at in order], RULES, NOW)
    for at, outcome in zip(order, shuffled, strict=True):
        assert outcome == expected[at]


def test_clock_is_irrelevant() -> None:
    """
    Two frozen times give the same ids and the same hashes.
    """
    early, late = (signals(run_batch(golden.batch(), RULES, NOW + timedelta(seconds=s))) for s in (0, 120))
    assert len(early) == len(late) == 11
    for one, other in zip(early, late, strict=True):
        assert one.signal_id == other.signal_id
        assert one.deterministic_trace_id == other.deterministic_trace_id
        assert one.input_event_hash == other.input_event_hash
        assert one.signal.context_digest == other.signal.context_digest
        assert one.signal.generated_at != other.signal.generated_at


@pytest.mark.parametrize("seed", ["0", "1"])
def test_hash_seed_is_irrelevant(seed: str) -> None:
    """
    Another process with another seed of Python's hashes gives the same bytes.
    """
    code = "import sys; from tests.omen_server.pipeline import golden; sys.stdout.buffer.write(golden.judged())"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert answer.stdout == golden.FILE.read_bytes()


def test_key_order_is_irrelevant() -> None:
    """
    Attributes that were set in another order give the same outcome.
    """
    attributes: dict[str, Any] = {f"key{at}": at for at in range(20)} | {
        "domain": "reuters.com",
        "nested": {"a": 1, "b": 2},
    }
    outcomes = []
    for seed in range(5):
        keys = sorted(attributes)
        random.Random(seed).shuffle(keys)
        outcomes.append(run(article(**{key: attributes[key] for key in keys}), RULES, NOTHING_KNOWN))
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_earlier_events_are_irrelevant() -> None:
    """
    What was judged before leaves no trace: only the snapshot does.
    """
    first = run(market(), RULES, NOTHING_KNOWN)
    for at in range(30):
        run(market(probability=0.1 + at / 50, source_event_id="evt-001"), RULES, NOTHING_KNOWN)
    assert run(market(), RULES, NOTHING_KNOWN) == first
    seen = Snapshot(NOW, {key_of(market()): tuple(Point(at, 0.1 + at % 2 / 100) for at in range(20))})
    assert run(market(), RULES, seen) != first


def test_witnesses_raise_confidence() -> None:
    """
    A second source raises the score by its boost, and the explanation says so.
    """
    raw = article("Suez Canal closed by a grounding", age_s=24 * 3_600, credibility=0.5)
    peers = (peer_of(report("Suez Canal closed after a grounding", source_event_id="r1", probability=0.5), RULES),)
    alone, together = (
        run(raw, RULES, snapshot, explain=True).explanation for snapshot in (NOTHING_KNOWN, Snapshot(NOW, peers=peers))
    )
    assert alone is not None
    assert together is not None
    assert [boost.name for boost in alone.confidence.boosts] == ["news_quality"]
    assert [boost.name for boost in together.confidence.boosts] == ["cross_source", "news_quality"]
    assert together.confidence.score - alone.confidence.score == pytest.approx(0.20)


def test_explanation() -> None:
    """
    An explanation holds every verdict, the sums and the steps of the ids, and changes nothing in the signal.
    """
    plain, explained = (run(market(), RULES, NOTHING_KNOWN, explain=explain) for explain in (False, True))
    assert plain.explanation is None
    assert plain.event == explained.event
    found = explained.explanation
    assert found is not None
    assert explained.event is not None
    assert found.signal_id == explained.event.signal_id
    assert found.ruleset_version == RULES.id
    assert found.as_of.ToDatetime(NOW.tzinfo) == NOW
    assert found.context_digest == NOTHING_KNOWN.digest
    assert tuple(found.verdicts) == explained.verdicts
    assert len(found.identity_steps) == 3
    assert explained.input_event_hash in found.identity_steps[0]
    assert explained.event.deterministic_trace_id in found.identity_steps[1]
    assert found.signal_id in found.identity_steps[2]
    assert [score.category for score in found.categories] == [
        signal_pb2.SIGNAL_CATEGORY_GEOPOLITICAL,
        signal_pb2.SIGNAL_CATEGORY_INFRASTRUCTURE,
    ]
    sums = found.confidence
    base = sum(factor.weight * factor.value for factor in sums.factors)
    assert sums.base == pytest.approx(base, abs=1e-4)
    again = 0.4 * base + 0.3 * sums.completeness + 0.3 * sums.source_trust + sum(boost.value for boost in sums.boosts)
    assert sums.score == pytest.approx(again, abs=1e-4) == explained.event.signal.confidence_score


def test_explanation_of_a_refusal() -> None:
    """
    A refused event is explained, too, with every rule asked and the id it would have had.
    """
    outcome = run(market("Euro 2028 winner"), RULES, NOTHING_KNOWN, explain=True)
    assert outcome.event is None
    assert outcome.explanation is not None
    assert outcome.explanation.signal_id.startswith("OMEN-")
    assert signal_pb2.RULE_STATUS_SKIPPED not in {verdict.status for verdict in outcome.verdicts}
    assert len(outcome.verdicts) == 14


KEYS = ["change_pct", "z_score", "congestion_ratio", "credibility", "expires", "certainty", "magnitude"]


@given(
    st.builds(
        RawSignalEvent,
        source=st.sampled_from(["polymarket", "nws", "usgs", "gdacs", "gdelt", "fred", "freight", "ais", "portwatch",
                                "unknown", "nobody", ""]),
        source_event_id=st.text(max_size=5),
        title=st.one_of(st.text(max_size=30), st.just("Suez Canal strike"), st.just("Red Sea war 2027")),
        description=st.text(max_size=60),
        probability=st.one_of(st.none(), st.floats()),
        market=st.fixed_dictionaries(
            {},
            optional={
                "liquidity_usd": st.floats(),
                "volume_usd": st.floats(),
                "best_bid": st.floats(),
                "best_ask": st.floats(),
                "outcome_prices": st.lists(st.floats(), max_size=3),
                "outcomes": st.sampled_from([["Yes", "No"], []]),
                "end_at": st.fixed_dictionaries({"seconds": st.integers(-(1 << 63), (1 << 63) - 1)}),
            },
        ),
        location=st.fixed_dictionaries({}, optional={"latitude": st.floats(), "longitude": st.floats()}),
        observed_at=st.one_of(
            st.none(),
            st.just({"seconds": 1_769_594_400}),
            st.fixed_dictionaries({"seconds": st.integers(-(1 << 63), (1 << 63) - 1), "nanos": st.integers(-9, 9)}),
        ),
        attributes=st.dictionaries(
            st.sampled_from(KEYS),
            st.one_of(st.none(), st.floats(), st.text(max_size=5), st.booleans()),
        ),
    ),
    st.booleans(),
)  # fmt: skip
def test_nothing_stops_the_pipeline(raw: RawSignalEvent, explain: bool) -> None:
    """
    Whatever is sent is judged: no rule fails, and what passes is well formed.
    """
    outcome = run(raw, RULES, NOTHING_KNOWN, explain=explain)
    if not explain:
        # Behind the first no, rules may be asked about nonsense; before it, none may fail.
        assert signal_pb2.RULE_STATUS_ERROR not in {verdict.status for verdict in outcome.verdicts}
    assert (outcome.event is None) is bool(outcome.rejected_by)
    if outcome.event is not None:
        outcome.event.emitted_at.FromDatetime(NOW)
        assert not list(check_event(outcome.event, "event"))
        encode_json(outcome.event)


FORBIDDEN = ("impact", "severity", "delay", "cost", "recommend", "decision", "action", "loss", "urgency")


def test_no_forbidden_fields() -> None:
    """
    No signal has a field for impact, severity, delay, cost or recommendation.
    """

    def names(message: Descriptor) -> list[str]:
        own = [field.name for field in message.fields]
        inner = [field.message_type for field in message.fields if field.message_type is not None]
        return own + [name for each in inner if each.file is message.file for name in names(each)]

    for name in names(OmenSignal.DESCRIPTOR):
        assert not any(word in name for word in FORBIDDEN), name


def test_ruleset_is_made_once() -> None:
    """
    Two rulesets made alike are one: the same id, the same signals.
    """
    assert run(transits(), Ruleset(), NOTHING_KNOWN) == run(transits(), RULES, NOTHING_KNOWN)


def test_a_crowd_is_judged_alike() -> None:
    """
    A hundred articles about one matter corroborate no more than the bound, whatever order they came in.
    """
    batch = [
        article(f"Red Sea ships attack {at} {at * 7} {at * 31}", f"article-{at:03}", domain=f"d{at}.example")
        for at in range(100)
    ]
    forth, back = run_batch(batch, RULES, NOW), run_batch(batch[::-1], RULES, NOW)[::-1]
    assert forth == back
    assert {event.signal.probability for event in signals(forth)} == {0.6}
