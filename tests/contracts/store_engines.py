"""
The real engines, as the suite opens them.
"""

from functools import partial

from riskcast_server.store import open_store
from tests.contracts.exercise_store import Opener


def opener(url: str) -> Opener:
    """
    Return what opens the store at *url*.
    """
    return partial(open_store, url)
