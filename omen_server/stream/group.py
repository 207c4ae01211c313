from collections.abc import Sequence

from omen_server.ledger.partition import Gap
from omen_server.stream.cursor import Cursors
from omen_server.stream.filter import Filter
from omen_server.stream.frame import ITEM_OVERHEAD_BYTES, Frame, Passed, batch_frames, gap_frame
from omen_server.tail import Committed

GROUP_SIGNALS_MAX = 100
# Signals are held decoded and, once somebody takes them, encoded.
FORMS = 2


class Group:
    """
    Consecutive signals at the ledger's end, or one gap, with the frames made of them.

    As long as nobody has taken it more signals may join: the slower the takers, the larger the groups.
    """

    def __init__(self, items: Sequence[Committed] | Gap, cursors: Cursors) -> None:
        self._gap = items if isinstance(items, Gap) else None
        self._items: list[Committed] = [] if isinstance(items, Gap) else list(items)
        self._cursors = cursors
        self._cursor = ""
        self._passed: list[Passed] = []
        self._frames: dict[tuple[Filter, int], tuple[Frame, ...]] = {}
        self.first_offset = items.first_offset if isinstance(items, Gap) else items[0].offset
        self.size_bytes = sum(map(weight, self._items)) * FORMS

    @property
    def last_offset(self) -> int:
        """
        Its last offset.
        """
        return self._items[-1].offset if self._gap is None else self._gap.last_offset

    @property
    def cursor(self) -> str:
        """
        The cursor behind it, for those who have taken it: until then its end may still move.
        """
        if not self._cursor:
            crc = self._items[-1].crc() if self._gap is None else 0
            self._cursor = self._cursors.at(self.last_offset, crc)
        return self._cursor

    @property
    def records(self) -> int:
        """
        How many signals it holds; a gap counts as one.
        """
        return len(self._items) or 1

    def written_at(self, offset: int) -> int:
        """
        Return when the record at an offset of it was written, in nanoseconds; 0 in a gap.
        """
        return self._items[offset - self.first_offset].position.written_at if self._gap is None else 0

    def takes(self, item: Committed, bytes_max: int) -> bool:
        """
        Let *item* join if there is room and nobody has taken the group, and return whether it has.
        """
        more = weight(item) * FORMS
        full = self.records >= GROUP_SIGNALS_MAX or self.size_bytes + more > bytes_max * FORMS
        if self._gap is not None or self._passed or full:
            return False
        self._items.append(item)
        self.size_bytes += more
        return True

    def frames(self, wanted: Filter, count_max: int, after_offset: int, shared_max: int) -> tuple[Frame, ...]:
        """
        Return the frames of what is wanted behind an offset, for all who begin where the group does the same ones.
        """
        key = wanted, min(count_max, GROUP_SIGNALS_MAX)
        whole = after_offset < self.first_offset
        known = self._frames.get(key) if whole else None
        if known is None:
            known = self._made(wanted, key[1], after_offset)
            if whole and len(self._frames) < shared_max:
                self._frames[key] = known
                self.size_bytes += sum(len(frame.data) for frame in known)
        return known

    def _made(self, wanted: Filter, count_max: int, after_offset: int) -> tuple[Frame, ...]:
        if self._gap is not None:
            return (gap_frame(self._gap, self._cursors),)
        if not self._passed:
            self._passed = [Passed(item.offset, item.crc, item.event.SerializeToString()) for item in self._items]
        passed = [
            signal
            for signal, item in zip(self._passed, self._items, strict=True)
            if signal.offset > after_offset and wanted.passes(item.event, item.position.partition)
        ]
        return tuple(batch_frames(passed, self.last_offset, self.cursor, self._cursors, count_max))


def weight(item: Committed) -> int:
    """
    Return the bytes that a signal takes in a frame.
    """
    return item.size_bytes + ITEM_OVERHEAD_BYTES
