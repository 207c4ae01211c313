"""
How many different signals a day has: counted anew whenever somebody looks at a day that goes on.
"""

import tracemalloc
from random import Random

from omen_server.ledger.fingerprint import Fingerprints

RECORDS = 100_000


def test_counting_takes_little_more_than_what_is_counted() -> None:
    """
    Repeats count once, and the count needs for a moment little more memory than what it counts: no set of them all.
    """
    chance, sums = Random(7), Fingerprints("nowhere")
    sums.ids.extend(chance.getrandbits(64) for _ in range(RECORDS))
    sums.ids.extend(sums.ids[:100])
    tracemalloc.start()
    try:
        distinct = sums.distinct_signal_ids()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert distinct == RECORDS
    assert peak_bytes < 2 * len(sums.ids) * sums.ids.itemsize
