"""
What a rule answers. Its name and version are put on by the validator.
"""

from collections.abc import Iterable, Mapping
from math import isfinite
from types import MappingProxyType
from typing import Final, TypeAlias

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import RuleVerdict

DIGITS = 4

Numbers: TypeAlias = Mapping[str, float | None]
NONE: Final[Numbers] = MappingProxyType({})


def rounded(value: float) -> float:
    """
    Return a score as it is shown and compared: 0 to 1, four decimals, ties to even, never -0.0.
    """
    return round(min(1.0, max(0.0, value)), DIGITS) + 0.0


def passed(score: float, reason: str, matches: Iterable[str] = (), numbers: Numbers = NONE) -> RuleVerdict:
    """
    Return that the rule lets the event through.
    """
    return _verdict(signal_pb2.RULE_STATUS_PASSED, score, reason, matches, numbers)


def rejected(score: float, reason: str, matches: Iterable[str] = (), numbers: Numbers = NONE) -> RuleVerdict:
    """
    Return that the rule says no.
    """
    return _verdict(signal_pb2.RULE_STATUS_REJECTED, score, reason, matches, numbers)


def not_applicable(reason: str) -> RuleVerdict:
    """
    Return that the rule has nothing to say.
    """
    return RuleVerdict(status=signal_pb2.RULE_STATUS_NOT_APPLICABLE, reason=reason)


def _verdict(
    status: signal_pb2.RuleStatus.ValueType,
    score: float,
    reason: str,
    matches: Iterable[str],
    numbers: Numbers,
) -> RuleVerdict:
    # What is no number has no place in JSON, and says nothing that the reason does not.
    finite = {name: round(value, 6) + 0.0 for name, value in numbers.items() if value is not None and isfinite(value)}
    return RuleVerdict(
        status=status, score=rounded(score), reason=reason, parameters=finite, matches=sorted(set(matches))
    )
