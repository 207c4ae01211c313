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
    Appended records count at once, bytes after the next look; a seal changes neither of what is there.
    """
    clock, monotonic = Clock(), Monotonic()
    async with opened(tmp_path, clock) as ledger:
        size = LedgerSize(ledger, interval_s=5.0, monotonic=monotonic)
        assert await size() == (0, 0)
        await ledger.append(entries(range(1, 6)))
        assert await size() == (5, 0)
        monotonic.at_s = 5.0
        records, size_bytes = await size()
        info = await ledger.partition(DAY)
        assert (records, size_bytes) == (info.total_records, info.size_bytes)
        clock.now = TOMORROW
        await ledger.seal(DAY)
        monotonic.at_s = 10.0
        assert await size() == (5, (await ledger.partition(DAY)).size_bytes)
        await ledger.append(entries(range(6, 8)))
        monotonic.at_s = 15.0
        assert (await size())[0] == 7
