"""
What the rules say no to.
"""

from omen_server.pipeline.run import Outcome, run
from tests.omen_server.pipeline.raw_events import NOTHING_KNOWN, RULES, market


def refusal() -> Outcome:
    """
    Return what becomes of a football match.
    """
    return run(market("Euro 2028 winner"), RULES, NOTHING_KNOWN)
