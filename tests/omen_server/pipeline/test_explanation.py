from datetime import UTC, datetime, timedelta

import pytest

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import RawSignalEvent, SignalEvent
from omen_rpc.signal_codec import decode_json, encode_json
from omen_server.pipeline.explanation import explain_stored
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.run import run, run_batch
from omen_server.pipeline.snapshot import Snapshot
from tests.omen_server.pipeline import golden, goldens
from tests.omen_server.pipeline.raw_events import NOTHING_KNOWN, NOW, RULES, market


def stored(event: SignalEvent | None) -> SignalEvent:
    """
    Return a signal as it comes back from the ledger.
    """
    assert event is not None
    return decode_json(encode_json(event))


def as_of(raw: RawSignalEvent) -> datetime:
    """
    Return a time at which a fixture's event was news.
    """
    return raw.observed_at.ToDatetime(UTC) + timedelta(minutes=1)


def test_fixtures_are_explained_from_the_ledger() -> None:
    """
    Of whatever a source tells, the ledger's signal explains itself as it was explained when it was submitted.
    """
    sources = set()
    for name in goldens.names():
        for raw in goldens.parse(name).events:
            outcome = run(raw, RULES, Snapshot(as_of(raw)), explain=True)
            if outcome.event is not None:
                sources.add(raw.source)
                assert explain_stored(stored(outcome.event), RULES) == outcome.explanation, name
    assert len(sources) >= 8, sources


def test_golden_batch_is_explained_from_the_ledger() -> None:
    """
    The same with witnesses, whose boosts are part of the sum.
    """
    outcomes = [each for each in run_batch(golden.batch(), RULES, NOW, explain=True) if each.event is not None]
    assert any(each.explanation.confidence.boosts for each in outcomes if each.explanation)
    for outcome in outcomes:
        assert explain_stored(stored(outcome.event), RULES) == outcome.explanation


def test_another_ruleset_keeps_its_sums_to_itself() -> None:
    """
    Of a signal that other rules made, the verdicts, digest and steps are told, and no factor is made up.
    """
    older = Ruleset(version="0.9.0")
    event = stored(run(market(), older, NOTHING_KNOWN).event)
    found = explain_stored(event, RULES)
    assert found.ruleset_version == older.id
    assert list(found.verdicts) == list(event.signal.validation)
    assert found.context_digest == event.signal.context_digest
    assert found.as_of == event.signal.generated_at
    assert len(found.identity_steps) == 3
    assert found.confidence.score == event.signal.confidence_score
    assert (list(found.confidence.factors), found.confidence.base, list(found.confidence.boosts)) == ([], 0.0, [])


def test_upstream_signal_is_not_explained_by_our_rules() -> None:
    """
    A signal with a score of its own gets no factors, also under our ruleset's name; its id follows from nothing.
    """
    event = stored(run(market(), RULES, NOTHING_KNOWN).event)
    event.signal.confidence_score = 0.5
    event.signal_id = event.signal.signal_id = "OMEN-DEMO1"
    found = explain_stored(event, RULES)
    assert not found.confidence.factors
    assert found.confidence.score == 0.5
    assert len(found.identity_steps) == 1
    assert "OMEN-DEMO1" in found.identity_steps[0]


def test_bare_signal() -> None:
    """
    A signal that says next to nothing is explained by next to nothing.
    """
    event = SignalEvent(signal_id="OMEN-BARE", signal=signal_pb2.OmenSignal(signal_id="OMEN-BARE", title="Bare"))
    found = explain_stored(event, RULES)
    assert not found.HasField("as_of")
    assert (list(found.verdicts), list(found.categories), found.confidence.score) == ([], [], 0.0)


@pytest.mark.parametrize("at", range(12))
def test_categories_follow_from_the_verdict(at: int) -> None:
    """
    What the category verdict weighs most is the category, where its kind of source leaves it the choice.
    """
    event = run_batch(golden.batch(), RULES, NOW)[at].event
    scores = explain_stored(event, RULES).categories if event else []
    if event and scores:
        assert event.signal.category in {score.category for score in scores}
