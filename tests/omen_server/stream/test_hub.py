"""
What the ring of the newest signals may hold, in records, bytes and encoded forms.
"""

from pathlib import Path

from omen.v1.signal_pb2 import SignalCategory
from omen_server.stream.cursor import Cursors
from omen_server.stream.filter import Filter
from omen_server.stream.hub import Hub
from omen_server.stream.limits import Limits
from omen_server.tail import Tail
from tests.ledgers import entries, opened


async def test_ring_is_bounded(tmp_path: Path) -> None:
    """
    Of large signals the ring keeps as many as have room by their bytes, encoded forms included, the newest.
    """
    limits = Limits(ring_bytes_max=5_000_000, shared_filters_max=3)
    async with opened(tmp_path) as ledger:
        tail = Tail(ledger)
        hub = Hub(tail, Cursors(ledger.identity), limits)
        await ledger.append(entries(range(600), description="x" * 10_000))
        async for batch in tail.read(0):
            for item in batch:
                hub.add([item])
        assert hub.reaches(599)
        assert not hub.reaches(100)
        assert sum(group.size_bytes for group in hub._groups.values()) == hub._bytes <= limits.ring_bytes_max
        group = hub.group_behind(599)
        assert group is not None
        size_bytes = group.size_bytes
        frames = hub.frames(group, Filter(), 100, group.first_offset - 1)
        assert group.size_bytes == size_bytes + sum(len(frame.data) for frame in frames) > size_bytes
        for category in SignalCategory.values():
            hub.frames(group, Filter(frozenset([category])), 100, group.first_offset - 1)
        assert len(group._frames) == limits.shared_filters_max
        assert sum(group.size_bytes for group in hub._groups.values()) == hub._bytes <= limits.ring_bytes_max
