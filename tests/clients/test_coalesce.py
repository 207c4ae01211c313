import asyncio
from collections.abc import Sequence

import pytest

from omen_client.coalesce import Coalescer
from tests.hosting import until


class Far:
    """
    The far side: answers batches when it is told to, and remembers them.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.arrived = asyncio.Condition()

    async def send(self, items: Sequence[int]) -> list[int | Exception]:
        """
        Answer each item with its tenfold; a negative one is an error of its own, 666 one of the whole call.
        """
        async with self.arrived:
            self.batches.append(list(items))
            self.arrived.notify_all()
        await self.gate.wait()
        if 666 in items:
            raise ConnectionError("all of them")
        return [ValueError(item) if item < 0 else item * 10 for item in items]

    async def batch(self, number: int) -> list[int]:
        """
        Wait for a batch.
        """
        async with asyncio.timeout(30), self.arrived:
            await self.arrived.wait_for(lambda: len(self.batches) > number)
        return self.batches[number]


async def test_what_gathers_while_a_call_is_in_flight_goes_out_as_one() -> None:
    """
    The first is sent at once; all that come meanwhile share the next call, and each gets its own outcome.
    """
    far = Far()
    coalescer: Coalescer[int, int] = Coalescer(far.send, calls_max=1)
    first = asyncio.create_task(coalescer.submit(1, 1))
    assert await far.batch(0) == [1]
    rest = [asyncio.create_task(coalescer.submit(number, 1)) for number in range(2, 9)]
    await asyncio.sleep(0)
    far.gate.set()
    assert await first == 10
    assert await asyncio.gather(*rest) == [20, 30, 40, 50, 60, 70, 80]
    assert far.batches == [[1], [2, 3, 4, 5, 6, 7, 8]]


async def test_one_bad_item_touches_nobody_else() -> None:
    """
    An item's own error is raised to its caller alone.
    """
    far = Far()
    far.gate.set()
    coalescer: Coalescer[int, int] = Coalescer(far.send, calls_max=1)
    outcomes = await asyncio.gather(*(coalescer.submit(number, 1) for number in (1, -2, 3)), return_exceptions=True)
    assert [outcomes[0], outcomes[2]] == [10, 30]
    assert isinstance(outcomes[1], ValueError)


async def test_a_call_that_fails_fails_its_batch_and_no_other() -> None:
    """
    Everybody in the batch gets the error; the next batch is sent all the same.
    """
    far = Far()
    coalescer: Coalescer[int, int] = Coalescer(far.send, calls_max=1, items_max=2)
    tasks = [asyncio.create_task(coalescer.submit(number, 1)) for number in (1, 666, 2, 3, 4)]
    await far.batch(0)
    far.gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert far.batches == [[1], [666, 2], [3, 4]]
    assert [outcomes[0], *outcomes[3:]] == [10, 30, 40]
    assert all(isinstance(outcome, ConnectionError) for outcome in outcomes[1:3])


async def test_a_caller_that_goes_away_leaves_the_others_alone() -> None:
    """
    A cancelled caller's item is not sent when it still waited, and its batch goes on when it did not.
    """
    far = Far()
    coalescer: Coalescer[int, int] = Coalescer(far.send, calls_max=1)
    sent = asyncio.create_task(coalescer.submit(1, 1))
    await far.batch(0)
    kept = asyncio.create_task(coalescer.submit(2, 1))
    gone = asyncio.create_task(coalescer.submit(3, 1))
    await asyncio.sleep(0)
    sent.cancel()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sent
    far.gate.set()
    assert await kept == 20
    assert far.batches == [[1], [2]]


async def test_batches_are_bounded_in_items_and_bytes() -> None:
    """
    No batch has more items or bytes than it may, but one item alone may be as large as it is.
    """
    far = Far()
    far.gate.set()
    coalescer: Coalescer[int, int] = Coalescer(far.send, calls_max=1, items_max=3, bytes_max=100)
    sizes = [60, 60, 30, 10, 1, 1, 1, 500, 5]
    await asyncio.gather(*(coalescer.submit(number, size) for number, size in enumerate(sizes)))
    assert far.batches == [[0], [1, 2, 3], [4, 5, 6], [7], [8]]


async def test_only_so_many_wait() -> None:
    """
    One more than may wait is held back until there is room, and is sent then.
    """
    far = Far()
    coalescer: Coalescer[int, int] = Coalescer(far.send, calls_max=1, waiting_max=3)
    tasks = [asyncio.create_task(coalescer.submit(number, 1)) for number in range(5)]
    assert await far.batch(0) == [0]
    far.gate.set()
    assert await asyncio.gather(*tasks) == [0, 10, 20, 30, 40]
    assert far.batches[1] == [1, 2]


async def test_closing_cancels_whoever_waits() -> None:
    """
    Nobody is left hanging.
    """
    far = Far()
    coalescer: Coalescer[int, int] = Coalescer(far.send, calls_max=1)
    tasks = [asyncio.create_task(coalescer.submit(number, 1)) for number in range(3)]
    await far.batch(0)
    await coalescer.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


async def test_second_call_is_for_a_whole_batch() -> None:
    """
    While a call is in flight another begins only when a whole batch waits, by count or by bytes.
    """
    sizes: list[int] = []
    going_on = asyncio.Event()

    async def send(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        await going_on.wait()
        return list(items)

    coalescer: Coalescer[int, int] = Coalescer(send, items_max=4, bytes_max=100, calls_max=3)
    callers = [asyncio.create_task(coalescer.submit(number, 10)) for number in range(4)]
    await until(lambda: len(sizes) == 1)
    callers += [asyncio.create_task(coalescer.submit(4, 10))]
    await until(lambda: len(sizes) == 2)
    callers += [asyncio.create_task(coalescer.submit(5, 100))]
    await until(lambda: len(sizes) == 3)
    going_on.set()
    assert await asyncio.gather(*callers) == [0, 1, 2, 3, 4, 5]
    assert sizes == [1, 4, 1]
