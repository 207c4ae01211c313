import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from riskcast_server.batcher import FULL, Batcher
from tests.hosting import until

CALLER: ContextVar[str] = ContextVar("caller", default="nobody")


class Counter:
    """
    Takes batches of numbers when it is told to, and remembers them.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.callers: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def take(self, numbers: Sequence[int]) -> list[int | Exception]:
        """
        Answer each with its tenfold; a negative one is an error of its own, 666 one of the whole batch.
        """
        self.batches.append(list(numbers))
        self.callers.append(CALLER.get())
        await self.gate.wait()
        if 666 in numbers:
            raise ConnectionError("all of them")
        return [ValueError(number) if number < 0 else number * 10 for number in numbers]


async def test_those_who_come_a_turn_apart_are_taken_together() -> None:
    """
    A batch is taken when some turns of the loop have brought nobody more, and each gets the outcome of its own.
    """
    counter = Counter()
    batcher: Batcher[int, int] = Batcher(counter.take)

    async def late(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await batcher.outcome(turns)

    assert await asyncio.gather(*map(late, range(1, 11))) == [number * 10 for number in range(1, 11)]
    assert await batcher.outcome(11) == 110
    assert counter.batches == [list(range(1, 11)), [11]]


async def test_a_batch_that_is_full_is_taken_and_another_begun() -> None:
    """
    However many come at once, no batch is larger than it may be, and one does not wait for the one before.
    """
    counter = Counter()
    counter.gate.clear()
    batcher: Batcher[int, int] = Batcher(counter.take)
    callers = [asyncio.create_task(batcher.outcome(number)) for number in range(2 * FULL + 5)]
    await until(lambda: len(counter.batches) == 3)
    counter.gate.set()
    assert await asyncio.gather(*callers) == [number * 10 for number in range(2 * FULL + 5)]
    assert [len(batch) for batch in counter.batches] == [FULL, FULL, 5]


async def test_an_error_of_one_is_raised_to_that_one() -> None:
    """
    What is wrong with one item its caller is told, and nobody else.
    """
    batcher: Batcher[int, int] = Batcher(Counter().take)
    one, bad, other = await asyncio.gather(*map(batcher.outcome, (1, -2, 3)), return_exceptions=True)
    assert (one, other) == (10, 30)
    assert isinstance(bad, ValueError)


async def test_an_error_of_the_batch_is_raised_to_all() -> None:
    """
    Nobody waits for ever when taking breaks, and the batch after is a new one.
    """
    batcher: Batcher[int, int] = Batcher(Counter().take)
    outcomes = await asyncio.gather(*map(batcher.outcome, (1, 666, 3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 3
    assert await batcher.outcome(4) == 40


@pytest.mark.parametrize("taken", [False, True])
async def test_who_goes_away_touches_nobody_else(taken: bool) -> None:
    """
    A caller that is cancelled before its batch is taken is left out of it; after that its outcome is dropped.
    """
    counter = Counter()
    counter.gate.clear()
    batcher: Batcher[int, int] = Batcher(counter.take)
    callers = [asyncio.create_task(batcher.outcome(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    await until(lambda: bool(counter.batches) or not taken)
    callers[1].cancel()
    counter.gate.set()
    one, gone, other = await asyncio.gather(*callers, return_exceptions=True)
    assert (one, other) == (10, 30)
    assert isinstance(gone, asyncio.CancelledError)
    assert counter.batches == [[1, 2, 3] if taken else [1, 3]]


async def test_all_may_go_away() -> None:
    """
    A batch that nobody waits for any more is not taken, and the next caller is served.
    """
    counter = Counter()
    batcher: Batcher[int, int] = Batcher(counter.take)
    alone = asyncio.create_task(batcher.outcome(1))
    await asyncio.sleep(0)
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
    await until(lambda: not batcher._tasks)
    assert await batcher.outcome(2) == 20
    assert counter.batches == [[2]]


async def test_a_batch_has_nothing_of_its_first_caller() -> None:
    """
    What runs for all does not run under the name, the span or the request id of the one who came first.
    """
    counter = Counter()
    batcher: Batcher[int, int] = Batcher(counter.take)
    CALLER.set("first")
    assert await batcher.outcome(1) == 10
    assert counter.callers == ["nobody"]
