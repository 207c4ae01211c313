from dataclasses import replace
from typing import Any

import pytest

from omen.v1.signal_pb2 import RawSignalEvent, RuleVerdict
from omen_server.pipeline.reading import Reading, read
from omen_server.pipeline.rules.verdict import passed, rejected, rounded
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.run import run
from omen_server.pipeline.snapshot import Snapshot
from omen_server.pipeline.validator import FUNCTIONS, validate
from tests.omen_server.pipeline.raw_events import (
    ERROR,
    NOTHING_KNOWN,
    PASSED,
    REJECTED,
    RULES,
    SKIPPED,
    article,
    market,
    price,
    quake,
    transits,
    vessels,
)

ORDER = [
    "sanity",
    "market_state",
    "liquidity",
    "anomaly",
    "semantic",
    "geographic",
    "freshness",
    "news_quality",
    "price_context",
    "traffic",
    "cross_source",
    "estimate",
]


def broken(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> RuleVerdict:
    """
    Fail as a rule with a fault would.
    """
    raise ZeroDivisionError(f"{reading.raw.title} {rules.id} {snapshot.digest}")


def asked(raw: RawSignalEvent, *, explain: bool = False, **replaced: Any) -> list[RuleVerdict]:
    """
    Return what all the rules say, some of them replaced.
    """
    functions = {**FUNCTIONS, **replaced}
    return [*validate(read(raw, RULES), RULES, NOTHING_KNOWN, explain=explain, functions=functions)]


def test_order_is_fixed() -> None:
    """
    Every rule answers in the order of the ruleset, under its name and version.
    """
    verdicts = asked(market())
    assert [verdict.name for verdict in verdicts] == ORDER == [name for name, _ in RULES.rules]
    assert {verdict.version for verdict in verdicts} == {"1.0.0"}
    assert set(FUNCTIONS) == set(ORDER)


@pytest.mark.parametrize("at", range(len(ORDER)))
def test_first_no_decides(at: int) -> None:
    """
    After the first no the rest are skipped; with an explanation they are asked all the same, and it decides still.
    """
    says_no: dict[str, Any] = {name: lambda *_: rejected(0.1, "No") for name in ORDER[at:]}
    short, long = asked(market(), **says_no), asked(market(), explain=True, **says_no)
    assert short[at].status == REJECTED
    assert all(verdict.status == SKIPPED and not verdict.HasField("score") for verdict in short[at + 1 :])
    assert all(verdict.status == REJECTED for verdict in long[at:])
    assert [verdict.name for verdict in short] == [verdict.name for verdict in long] == ORDER


def test_no_later_no_decides() -> None:
    """
    The name of the first rule that said no is the outcome's, explained or not.
    """
    raw = market("Euro 2028 winner", figures={"closed": True})
    for explain in (False, True):
        outcome = run(raw, RULES, NOTHING_KNOWN, explain=explain)
        assert (outcome.rejected_by, outcome.reason) == ("market_state", "The market is closed")
        assert outcome.event is None
        assert not outcome.passed


@pytest.mark.parametrize("name", ORDER)
def test_a_failing_rule_refuses(name: str) -> None:
    """
    A rule that fails refuses the event, says nothing of what it saw, and stops no other rule.
    """
    verdicts = {verdict.name: verdict for verdict in asked(market(), explain=True, **{name: broken})}
    assert verdicts[name].status == ERROR
    assert verdicts[name].reason == "The rule failed: ZeroDivisionError"
    assert len(verdicts) == len(ORDER)
    assert all(verdict.status != ERROR for other, verdict in verdicts.items() if other != name)


def test_a_failing_rule_is_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The event of a rule that failed is filtered, and nothing is raised.
    """
    defaults: dict[str, Any] = validate.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "functions", {**FUNCTIONS, "semantic": broken})
    for explain in (False, True):
        outcome = run(market(), RULES, NOTHING_KNOWN, explain=explain)
        assert (outcome.event, outcome.rejected_by) == (None, "semantic")


def test_a_missing_rule_refuses() -> None:
    """
    A rule that the ruleset names and the code lacks passes nothing.
    """
    rules = replace(RULES, rules=(*RULES.rules, ("astrology", "1.0.0")))
    outcome = run(market(), rules, NOTHING_KNOWN)
    assert outcome.rejected_by == "astrology"
    assert outcome.verdicts[-1].status == ERROR


@pytest.mark.parametrize("raw", [market(), article(), quake(), price(), transits(), vessels()])
def test_verdicts_are_well_formed(raw: RawSignalEvent) -> None:
    """
    Every verdict has a reason, a score of four decimals between 0 and 1, and sorted matches.
    """
    for verdict in asked(raw, explain=True):
        assert verdict.reason
        assert 0.0 <= verdict.score <= 1.0
        assert verdict.score == round(verdict.score, 4)
        assert list(verdict.matches) == sorted(set(verdict.matches))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.03125, 0.0312),  # Exactly between two: to the even one.
        (0.09375, 0.0938),
        (0.00005, 0.0001),
        (-0.0, 0.0),
        (-1.0, 0.0),
        (1.00001, 1.0),
        (7.0, 1.0),
        (float("nan"), 0.0),
    ],
)
def test_rounding(value: float, shown: float) -> None:
    """
    Scores have four decimals, ties go to even, and nothing leaves 0 to 1.
    """
    assert str(rounded(value)) == str(shown)


def test_parameters_are_numbers() -> None:
    """
    What is no number is left out of the parameters, which become JSON.
    """
    verdict = passed(1.0, "x", ["b", "a", "b"], {"nan": float("nan"), "inf": float("inf"), "none": None, "one": 1.0})
    assert dict(verdict.parameters) == {"one": 1.0}
    assert list(verdict.matches) == ["a", "b"]
    assert verdict.status == PASSED
