"""
The rules in their order. The first that says no decides; an explanation asks the others all the same.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.estimate import estimate
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.anomaly import anomaly
from omen_server.pipeline.rules.cross_source import cross_source
from omen_server.pipeline.rules.freshness import freshness
from omen_server.pipeline.rules.geographic import geographic
from omen_server.pipeline.rules.market import liquidity, market_state
from omen_server.pipeline.rules.news import news_quality
from omen_server.pipeline.rules.prices import price_context
from omen_server.pipeline.rules.sanity import sanity
from omen_server.pipeline.rules.semantic import semantic
from omen_server.pipeline.rules.traffic import traffic
from omen_server.pipeline.rules.verdict import not_applicable, passed, rejected
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Snapshot

Rule: TypeAlias = Callable[[Reading, Ruleset, Snapshot], RuleVerdict]

REFUSALS: Final = frozenset({signal_pb2.RULE_STATUS_REJECTED, signal_pb2.RULE_STATUS_ERROR})


def has_estimate(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> RuleVerdict:
    """
    Refuse what nobody can put a probability to.
    """
    found = estimate(reading, rules, snapshot)
    if found is None:
        return rejected(0.0, "Nothing in it gives ground for a probability")
    if found.probability is None:
        return not_applicable("A price's move gives context only, and no probability")
    return passed(1.0, f"By {found.method}", numbers={"probability": found.probability})


# The rules by their names; the order, and which of them apply at all, is the ruleset's to say.
FUNCTIONS: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "sanity": sanity,
        "market_state": market_state,
        "liquidity": liquidity,
        "anomaly": anomaly,
        "semantic": semantic,
        "geographic": geographic,
        "freshness": freshness,
        "news_quality": news_quality,
        "price_context": price_context,
        "traffic": traffic,
        "cross_source": cross_source,
        "estimate": has_estimate,
    }
)


def validate(
    reading: Reading,
    rules: Ruleset,
    snapshot: Snapshot,
    *,
    explain: bool = False,
    functions: Mapping[str, Rule] = FUNCTIONS,
) -> Iterator[RuleVerdict]:
    """
    Yield what each rule says, in order. After the first no the rest are skipped, unless an explanation is wanted.
    """
    refused = False
    for name, version in rules.rules:
        if refused and not explain:
            verdict = RuleVerdict(status=signal_pb2.RULE_STATUS_SKIPPED)
        else:
            verdict = asked(functions, name, reading, rules, snapshot)
        verdict.name, verdict.version = name, version
        refused = refused or verdict.status in REFUSALS
        yield verdict


def asked(
    functions: Mapping[str, Rule], name: str, reading: Reading, rules: Ruleset, snapshot: Snapshot
) -> RuleVerdict:
    """
    Return what a rule says. One that fails, or that is not there, refuses the event.

    A fault of ours must neither pass an event nor stop the others.
    """
    try:
        return functions[name](reading, rules, snapshot)
    except Exception as error:  # noqa: BLE001  Whatever it is, the verdict says so and the event is refused.
        return RuleVerdict(status=signal_pb2.RULE_STATUS_ERROR, reason=f"The rule failed: {type(error).__name__}")
