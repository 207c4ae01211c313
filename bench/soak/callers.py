"""
Those who use OMEN during the soak: callers that bring signals, and subscribers that come and go.
"""

import asyncio
import random

from bench.soak.keys import Keys
from omen.v1.signal_pb2 import OmenSignal
from omen.v1.signal_service_pb2 import EmitSignalItem
from omen_client import CallError, NotAllowed, OmenClient, Streamed

BATCH = 20
FILL_BATCH = 400
STAY_S = (0.5, 6.0)
PAUSE_S = 0.2
AGAIN_EVERY = 5  # One batch of so many is brought twice.
CATCH_UP_TIMEOUT_S = 60.0


class Bringer:
    """
    Brings signals at a rate; what fails is brought again until it is acknowledged.
    """

    def __init__(self, number: int, address: str, keys: Keys, rate: float) -> None:
        self.acknowledged: set[str] = set()
        self.failures = 0
        self.repeated = 0
        self.wrong: list[str] = []
        self._batches = 0
        self._number = number
        self._address = address
        self._keys = keys
        self._every_s = BATCH / rate

    async def fill(self, count: int) -> None:
        """
        Bring so many as fast as they are taken, before anything else.
        """
        async with OmenClient(self._address, api_key=self._keys.current, timeout_s=60.0) as client:
            while self._batches * BATCH < count:
                first = self._batches * BATCH
                if await self._brought(client, range(first, first + FILL_BATCH)):
                    self._batches += FILL_BATCH // BATCH

    async def run(self, stopping: asyncio.Event) -> None:
        """
        Bring until told to stop, and what has been begun to its end.
        """
        loop, batches = asyncio.get_running_loop(), self._batches
        due_s = loop.time()
        while not stopping.is_set():
            key = self._keys.current
            async with OmenClient(self._address, api_key=key, timeout_s=20.0) as client:
                while not stopping.is_set() and key == self._keys.current:
                    numbers = range(batches * BATCH, (batches + 1) * BATCH)
                    batches += await self._brought(client, numbers)
                    if batches % AGAIN_EVERY == 0:
                        await self._again(client, numbers)
                    due_s = max(due_s + self._every_s, loop.time() - 1.0)  # It does not hurry after a long wait.
                    await asyncio.sleep(max(0.0, due_s - loop.time()))

    async def _brought(self, client: OmenClient, numbers: range) -> bool:
        try:
            results = await client.emit_all([self._item(number) for number in numbers])
        except CallError:
            self.failures += 1
            return False
        failed = [each for each in results if isinstance(each, CallError)]
        self.failures += len(failed)
        self.acknowledged.update(each.event.signal_id for each in results if not isinstance(each, CallError))
        return not failed

    async def _again(self, client: OmenClient, numbers: range) -> None:
        try:
            results = await client.emit_all([self._item(number) for number in numbers])
        except CallError:
            self.failures += 1
            return
        for each in results:
            if isinstance(each, CallError):
                self.failures += 1
            elif each.event.signal_id in self.acknowledged and not each.cached:
                self.wrong.append(f"{each.event.signal_id} was appended twice")
            else:
                self.repeated += 1

    def _item(self, number: int) -> EmitSignalItem:
        signal_id = f"OMEN-SOAK{self._number:02d}N{number:08d}"
        text = "What a signal says of itself, of a usual length. " * 4
        return EmitSignalItem(signal=OmenSignal(signal_id=signal_id, title=f"Signal {number}", description=text))


class Subscriber:
    """
    Comes, reads, goes, and comes again behind its cursor; nothing may be left out.
    """

    def __init__(self, number: int, address: str, keys: Keys, storm: "Storm") -> None:
        self.offset = 0
        self.connections = 0
        self.refused = 0
        self.wrong: list[str] = []
        self._cursor = ""
        self._number = number
        self._address = address
        self._keys = keys
        self._storm = storm
        self._chance = random.Random(number)

    async def run(self, stopping: asyncio.Event) -> None:
        """
        Come and go until told to stop, then read to the end.
        """
        while not stopping.is_set():
            stay_s = self._chance.uniform(*STAY_S)
            reading = asyncio.create_task(self._read(until_caught_up=False))
            leaving = asyncio.create_task(self._storm.wait())
            ended = asyncio.create_task(stopping.wait())
            await asyncio.wait((reading, leaving, ended), timeout=stay_s, return_when=asyncio.FIRST_COMPLETED)
            stormed = leaving.done()
            for task in (reading, leaving, ended):
                task.cancel()
            await asyncio.gather(reading, leaving, ended, return_exceptions=True)
            if not stormed:  # In a storm all of them are back at once.
                await asyncio.sleep(self._chance.uniform(0.0, PAUSE_S))
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            await self._read(until_caught_up=True)

    async def _read(self, *, until_caught_up: bool) -> None:
        client = OmenClient(self._address, api_key=self._keys.current)
        async with client:
            stream = client.stream(
                after_cursor=self._cursor,
                from_beginning=not self._cursor,
                heartbeat_s=1,
                until_caught_up=until_caught_up,
            )
            try:
                async with stream:
                    async for item in stream:
                        self._take(item)
            except NotAllowed:
                self.refused += 1  # The key was taken out under an open stream that broke: it comes with the new one.
            except CallError as error:
                self.wrong.append(f"subscriber {self._number}: {error.code.name} {error.reason}: {error.message}")
            finally:
                self._cursor = stream.cursor or self._cursor
                self.connections += stream.connections

    def _take(self, item: object) -> None:
        if not isinstance(item, Streamed):
            self.wrong.append(f"subscriber {self._number} was told of a gap: {item}")
            return
        offset = item.event.ledger_offset
        if offset > self.offset + 1:
            self.wrong.append(f"subscriber {self._number} was sent {offset} after {self.offset}")
        self.offset = max(self.offset, offset)


class Storm:
    """
    The moments at which every subscriber loses its connection.
    """

    def __init__(self) -> None:
        self.count = 0
        self._breaks = asyncio.Event()

    async def wait(self) -> None:
        """
        Wait for the next one.
        """
        await self._breaks.wait()

    def rage(self) -> None:
        """
        Break all connections now.
        """
        self.count += 1
        self._breaks.set()
        self._breaks = asyncio.Event()
