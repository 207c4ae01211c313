"""
Runs by number, large enough to fill many pages, and what a database has of them: whole ones or none.
"""

import hashlib

from reconciler.state import State
from tests.contracts.exercise_state import DAY, result, state


async def saved(opened: State, number: int) -> None:
    """
    Save run *number*: its state says the same number as its result.
    """
    ids = [hashlib.sha256(b"%d-%d" % (number, each)).hexdigest() for each in range(1000)]
    await opened.runs.save(
        result(run=number, highwater=number, replayed_ids=ids), state(ledger_highwater=number, processed_count=len(ids))
    )


async def last_whole(opened: State) -> int:
    """
    Return the number of the last run, having made sure that it and those before are there, whole, and their state.
    """
    stands = await opened.runs.get(DAY)
    history = await opened.runs.history(DAY, 0, 1000)
    numbers = [run.highwater for _, run in history]
    assert stands is not None
    assert numbers == list(range(stands.ledger_highwater, 0, -1))[: len(numbers)]
    assert len(numbers) == min(stands.ledger_highwater, 1000)
    assert all(len(run.replayed_ids) == stands.processed_count for _, run in history)
    return stands.ledger_highwater
