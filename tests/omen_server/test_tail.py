import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from omen_rpc.position import Position
from omen_rpc.signal_codec import PayloadKind
from omen_server.ledger.entry import Entry
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.partition import Gap
from omen_server.records import entry_of
from omen_server.tail import Committed, Tail, last_offset, stamped
from tests.ledgers import NOON, entries, event, opened


async def append(ledger: Ledger, numbers: Sequence[int], kind: PayloadKind = "json") -> list[Committed]:
    """
    Append signals and return them as intake would offer them.
    """
    events = [event(number, description="ü\n") for number in numbers]
    entries = [entry_of(each, kind) for each in events]
    positions = await ledger.append(entries)
    return [stamped(*parts) for parts in zip(events, [entry.record for entry in entries], positions, strict=True)]


async def offsets(tail: Tail, after: int, through: int) -> list[int]:
    """
    Follow a tail up to an offset and return every offset that came by.
    """
    found: list[int] = []
    async with aclosing(tail.follow(after)) as batches:
        async for batch in batches:
            found += [item.offset for item in batch if isinstance(item, Committed)]
            if last_offset(batch) >= through:
                return found
    return found


@pytest.mark.parametrize("kind", ["json", "protobuf"])
async def test_window_and_ledger_agree(tmp_path: Path, kind: PayloadKind) -> None:
    """
    What the window holds is what reading the ledger gives, to the field and to the payload's byte.
    """
    async with opened(tmp_path) as ledger:
        offered = await append(ledger, range(1, 8), kind)
        [read] = [batch async for batch in Tail(ledger).read(0)]
    assert [
        (item.position, item.event, item.payload(), item.crc()) for item in read if isinstance(item, Committed)
    ] == [(item.position, item.event, item.payload(), item.crc()) for item in offered]


async def test_follower_sees_everything_once(tmp_path: Path) -> None:
    """
    Whether appends were offered or not, a follower sees each offset once and in order, before and behind it.
    """
    async with opened(tmp_path) as ledger:
        tail = Tail(ledger, records_max=20)
        tail.offer(await append(ledger, range(30)))
        follower = asyncio.create_task(offsets(tail, 0, 90))
        await append(ledger, range(30, 40))
        tail.offer(await append(ledger, range(40, 70)))
        await append(ledger, range(70, 71))
        tail.offer(await append(ledger, range(71, 90)))
        assert await follower == list(range(1, 91))


async def test_window_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Following what was offered reads no file.
    """
    async with opened(tmp_path) as ledger:
        tail = Tail(ledger)
        tail.offer(await append(ledger, range(30)))
        monkeypatch.setattr(ledger, "read", None)
        assert await offsets(tail, 0, 30) == list(range(1, 31))


async def test_window_is_bounded(tmp_path: Path) -> None:
    """
    The window lets go of the oldest by count and by bytes.
    """
    async with opened(tmp_path) as ledger:
        items = await append(ledger, range(30))
        by_count, by_bytes = Tail(ledger, records_max=10), Tail(ledger, bytes_max=5 * items[-1].size_bytes)
        by_count.offer(items)
        by_bytes.offer(items)
        assert [len(by_count.after(offset)) for offset in (19, 20)] == [0, 10]
        assert [len(by_bytes.after(offset)) for offset in (24, 25)] == [0, 5]


class Nonsense:
    """
    A record whose place can be read, and nothing else.
    """

    def stamp(self, position: Position) -> bytes:
        """
        Return a payload whose title is a number.
        """
        (entry,) = entries([1])
        return entry.record.stamp(position).replace(b'"title":"Signal 1"', b'"title":1')


async def test_record_that_is_no_signal_is_a_gap(tmp_path: Path) -> None:
    """
    A whole frame that holds no signal is told as a gap at its offset, and what follows is read.
    """
    async with opened(tmp_path) as ledger:
        await append(ledger, range(2))
        await ledger.append([Entry(NOON, Nonsense())])
        await append(ledger, range(2, 4))
        [batch] = [batch async for batch in Tail(ledger).read(0)]
    assert [(gap.first_offset, gap.last_offset) for gap in batch if isinstance(gap, Gap)] == [(3, 3)]
    assert [item.offset for item in batch if isinstance(item, Committed)] == [1, 2, 4, 5]
