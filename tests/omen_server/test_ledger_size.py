from pathlib import Path

from omen_server.ledger_size import LedgerSize
from tests.ledgers import DAY, TOMORROW, Clock, entries, opened


class Monotonic:
    """
    A clock that a test moves.
    """

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.at_s


async def test_records_are_exact_and_bytes_are_looked_at(tmp_path: Path) -> None:
    """
    Appended records count at once, bytes after the next look, but the first ones at once; a seal changes nothing,
    compressing does.
    """
    clock, monotonic = Clock(), Monotonic()
    async with opened(tmp_path, clock, hot_days=0.0) as ledger:
        size = LedgerSize(ledger, interval_s=5.0, monotonic=monotonic)
        assert await size() == (0, 0)
        await ledger.append(entries(range(1, 4)))
        first = await size()
        assert first == (3, (await ledger.partition(DAY)).size_bytes)
        assert first[1] > 0
        await ledger.append(entries(range(4, 6)))
        assert await size() == (5, first[1])
        monotonic.at_s = 5.0
        records, size_bytes = await size()
        info = await ledger.partition(DAY)
        assert (records, size_bytes) == (info.total_records, info.size_bytes)
        clock.now = TOMORROW
        await ledger.seal(DAY)
        monotonic.at_s = 10.0
        assert await size() == (5, (await ledger.partition(DAY)).size_bytes)
        sealed = await size()
        assert [step.partition for step in await ledger.run_lifecycle(dry_run=False)] == [DAY]
        monotonic.at_s = 12.5
        assert await size() == sealed
        monotonic.at_s = 17.5
        compressed = await size()
        assert compressed == (5, (await ledger.partition(DAY)).size_bytes) != sealed
        await ledger.append(entries(range(6, 8)))
        monotonic.at_s = 25.0
        assert (await size())[0] == 7
