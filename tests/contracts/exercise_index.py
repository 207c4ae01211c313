"""
What every index must do, whatever keeps it: `test_index.py` runs it over the engines and the fake.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest

from omen_server.index import (
    WANTED_MAX,
    Counts,
    Index,
    IndexMoved,
    IndexOfAnother,
    IndexUnavailable,
    Known,
    Outcome,
    Page,
    Query,
    Wanted,
)
from tests.contracts.index_rows import DAY_NS, LEDGER, NOON_NS, crowd, everything, filled, mark, offsets, row
from tests.contracts.memory_index import MemoryIndex

Opener = Callable[..., AbstractAsyncContextManager[Index]]
Exercise = Callable[[Opener], Awaitable[None]]
DELIVERED, DUPLICATE, LEDGER_ONLY, REJECTED = 1, 2, 3, 6


async def begins_as_nobodys(opened: Opener) -> None:
    """
    An index that was never written has no mark, finds nothing, and counts nothing.
    """
    async with opened() as index:
        assert await index.projection.mark() is None
        assert await index.lookup.find([Wanted("OMEN-0001")]) == [None]
        assert await index.lookup.page(Query()) == Page([], 0)
        assert await index.lookup.page(Query(trace_ids=["x"], text="y", partition="z")) == Page([], 0)
        assert await index.lookup.first_since(0) is None
        assert await index.lookup.counts("2026-01-28") == Counts(0, 0)
        assert index.engine


async def keeps_what_was_put(opened: Opener) -> None:
    """
    Rows and mark are there after the index was closed and opened again, every value of a row as it was put.
    """
    kept = row(3, ledger_index=1 << 40, crc=0xFFFF_FFFF, emitted_ns=NOON_NS + 1, partition="2026-01-28-late")
    async with opened() as index:
        await filled(index, [row(1), row(2), kept])
    async with opened() as index:
        assert await index.projection.mark() == mark(3, 0xFFFF_FFFF)
        assert await index.lookup.find([Wanted("OMEN-0003")]) == [
            Known(3, "2026-01-28-late", 1 << 40, "OMEN-0003", kept.input_event_hash, kept.content_digest, 0, "")
        ]
        assert await index.lookup.counts("2026-01-28") == Counts(3, 3)


async def moves_only_from_where_it_stands(opened: Opener) -> None:
    """
    A write that takes the mark to be elsewhere, or another ledger's to be its own, changes nothing; gaps move it too.
    """
    async with opened() as index:
        await filled(index, [row(1)])
        with pytest.raises(IndexMoved):
            await index.projection.put([row(1)], mark(1), 0)
        with pytest.raises(IndexMoved):
            await index.projection.put([row(3)], mark(3), 2)
        with pytest.raises(IndexOfAnother) as refused:
            await index.projection.put([row(2)], mark(2, ledger_id="c" * 32), 1)
        assert LEDGER in str(refused.value)
        assert "c" * 32 in str(refused.value)
        assert await index.projection.mark() == mark(1, 3)
        await index.projection.put([], mark(9), 1)
        assert await index.projection.mark() == mark(9)
        assert offsets((await index.lookup.page(Query())).items) == [1]


async def finds_the_first(opened: Opener) -> None:
    """
    Of several records under one id the first is found, and the first of a raw event or a content, in the order asked.
    """
    async with opened() as index:
        same = {"signal_id": "OMEN-SAME"}
        await filled(
            index,
            [
                row(1),
                row(2, **same, input_event_hash="h1", content_digest="d1"),
                row(3, **same, input_event_hash="h2", content_digest="d2"),
                row(4, **same, input_event_hash="h2", content_digest="d3"),
                row(5, **same, input_event_hash="h1", content_digest="d3"),
            ],
        )
        wanted = [
            Wanted("OMEN-SAME", "h2"),
            Wanted("OMEN-SAME"),
            Wanted("OMEN-NONE"),
            Wanted("OMEN-SAME", "", "d3"),
            Wanted("OMEN-SAME", "h1", "d3"),
            Wanted("OMEN-SAME", "h3"),
            Wanted("OMEN-0001"),
            Wanted("OMEN-SAME"),
            Wanted("OMEN-0001\0"),
            Wanted("OMEN-SAME", after_offset=2),
            Wanted("OMEN-SAME", "h1", after_offset=2),
            Wanted("OMEN-SAME", after_offset=5),
        ]
        assert offsets(await index.lookup.find(wanted)) == [3, 2, None, 4, 5, None, 1, 2, None, 3, 5, None]
        assert await index.lookup.find([]) == []
        assert offsets(await index.lookup.find([Wanted("OMEN-SAME")] * WANTED_MAX)) == [2] * WANTED_MAX
        with pytest.raises(ValueError, match=r"50\d"):
            await index.lookup.find([Wanted("OMEN-SAME")] * (WANTED_MAX + 1))


QUERIES: Final = [
    Query(),
    Query(partition="2026-01-28"),
    Query(partition="2026-01-28-late"),
    Query(partition="2026-02-30"),
    Query(emitted_from_ns=NOON_NS),
    Query(emitted_through_ns=NOON_NS),
    Query(emitted_from_ns=NOON_NS - DAY_NS, emitted_through_ns=NOON_NS + DAY_NS // 2),
    Query(emitted_from_ns=NOON_NS + DAY_NS, emitted_through_ns=NOON_NS),
    Query(emitted_from_ns=10**30),
    Query(emitted_through_ns=-(10**30)),
    Query(emitted_from_ns=0, emitted_through_ns=10**30),
    Query(categories=[2, 5]),
    Query(trace_ids=["t1", "t3", "none"]),
    Query(trace_ids=["t1", "t2"], source_event_id="s1", partition="2026-01-28"),
    Query(input_event_hash="h1"),
    Query(input_event_hash="h1", text="sea", categories=[1, 2, 3, 4]),
    Query(source_event_id="s1", emitted_from_ns=NOON_NS),
    Query(text="SEA Red"),
    Query(text="STRASSE"),
    Query(text="100%"),
    Query(text="_"),
    Query(text="\\"),
    Query(text="nobody's word"),
    Query(text="red", partition="2026-01-28", categories=[1, 2, 3]),
]


async def tells_nothing_it_is_not_true_to(opened: Opener) -> None:
    """
    Asked about records further on than its mark, whether it has rows or has begun anew, it says so instead of None.
    """
    async with opened() as index:
        await filled(index, [row(1), row(2)])
        assert offsets(await index.lookup.find([Wanted("OMEN-0001")], 2)) == [1]
        with pytest.raises(IndexUnavailable):
            await index.lookup.find([Wanted("OMEN-0001")], 3)
        await index.projection.cut(0)
        assert await index.lookup.find([Wanted("OMEN-0001")]) == [None]
        with pytest.raises(IndexUnavailable):
            await index.lookup.find([Wanted("OMEN-0001")], 1)


async def pages_as_filtered(opened: Opener) -> None:
    """
    Every filter, alone and with others, gives what looking at each row gives, newest first, on pages of any size.
    """
    rows = crowd(400)
    plain = MemoryIndex({each.offset: each for each in rows})
    async with opened() as index:
        await filled(index, rows)
        for query in QUERIES:
            expected = (await plain.page(query, 0, len(rows))).items
            assert [item.offset for item in await everything(index, query)] == [item.offset for item in expected]
            whole = await index.lookup.page(query, 0, len(rows))
            assert (whole.items, whole.before_offset) == (expected, 0)
    sizes = [len((await plain.page(query, 0, 400)).items) for query in QUERIES]
    assert sum(size > 10 for size in sizes) > 12


async def counts_and_times_as_filtered(opened: Opener) -> None:
    """
    The first since a time is the lowest offset emitted then or later, in whatever order they came; days are counted.
    """
    rows = crowd(300, seed=11)
    plain = MemoryIndex({each.offset: each for each in rows})
    async with opened() as index:
        await filled(index, rows)
        for _ in range(2):
            for each in (NOON_NS - 3 * DAY_NS, *(row.emitted_ns + 1 for row in rows[::17]), rows[3].emitted_ns, 10**30):
                assert await index.lookup.first_since(each) == await plain.first_since(each)
            for day in ("2026-01-27", "2026-01-28", "2026-01-31"):
                assert await index.lookup.counts(day) == await plain.counts(day)
            await index.projection.cut(rows[150].offset)
            await plain.cut(rows[150].offset)


async def times_that_fall(opened: Opener) -> None:
    """
    What was emitted before what came earlier is found behind it, also when it came in a later batch and late.
    """
    async with opened() as index:
        for each in (
            row(1, emitted_ns=NOON_NS + DAY_NS),
            row(2, emitted_ns=NOON_NS, partition="2026-01-28"),
            row(3, emitted_ns=NOON_NS + 1, partition="2026-01-28-late"),
        ):
            await filled(index, [each])
        assert await index.lookup.first_since(NOON_NS) == 1
        assert await index.lookup.first_since(NOON_NS + DAY_NS) == 1
        found = await everything(index, Query(emitted_through_ns=NOON_NS + 1))
        assert offsets(found) == [3, 2]


async def looks_at_so_many(opened: Opener) -> None:
    """
    A page that finds nothing among the rows it may look at says where to go on, and the pages together find it.
    """
    looked, count = 1_000, 1_200
    same = {"source_event_id": "many", "partition": "2026-01-28"}
    async with opened(looked_rows_max=looked) as index:
        await filled(index, [row(1, title="needle", **same), *(row(each, **same) for each in range(2, count + 1))])
        for query in (Query(text="needle"), Query(text="needle", partition="2026-01-28")):
            first = await index.lookup.page(query)
            assert (first.items, first.before_offset) == ([], count - looked + 1)
            assert offsets((await index.lookup.page(query, first.before_offset)).items) == [1]
        keyed = Query(text="needle", source_event_id="many")
        first = await index.lookup.page(keyed)
        assert first.items == []
        assert 0 < first.before_offset <= count - looked + 1
        assert offsets(await everything(index, keyed)) == [1]
        assert offsets((await index.lookup.page(Query(input_event_hash=f"sha256:{1:064x}"))).items) == [1]


async def forgets_what_is_cut(opened: Opener) -> None:
    """
    A cut forgets the rows behind it and steps the mark back to what lies there; a cut to nothing forgets everything.
    """
    async with opened() as index:
        await filled(index, [row(1), row(2, emitted_ns=NOON_NS + DAY_NS), row(4), row(5)])
        await index.projection.cut(4)
        assert await index.projection.mark() == mark(4, 12)
        await index.projection.cut(3)
        assert await index.projection.mark() == mark(3, 0)
        assert offsets((await index.lookup.page(Query())).items) == [2, 1]
        assert await index.lookup.counts("2026-01-28") == Counts(2, 1)
        await index.projection.put([row(4, signal_id="OMEN-OTHER")], mark(4, 9), 3)
        assert offsets(await index.lookup.find([Wanted("OMEN-0004"), Wanted("OMEN-OTHER")])) == [None, 4]
        assert await index.lookup.counts("2026-01-28") == Counts(3, 2)
        await index.projection.cut(0)
        assert await index.projection.mark() is None
        assert await index.lookup.page(Query()) == Page([], 0)
        assert await index.lookup.counts("2026-01-28") == Counts(0, 0)
        await index.projection.put([row(7)], mark(7, ledger_id="c" * 32), 0)
        assert offsets(await index.lookup.find([Wanted("OMEN-0007")])) == [7]


async def notes_what_became(opened: Opener) -> None:
    """
    An outcome is kept with its row; an acknowledged one gives way to no weaker one, and a row that is cut loses its.
    """
    steps: list[tuple[Sequence[Outcome], tuple[int, str]]] = [
        ([Outcome(1, LEDGER_ONLY)], (LEDGER_ONLY, "")),
        ([Outcome(1, 0)], (LEDGER_ONLY, "")),
        ([Outcome(1, REJECTED)], (REJECTED, "")),
        ([Outcome(1, DUPLICATE, "ack-1"), Outcome(1, LEDGER_ONLY)], (DUPLICATE, "ack-1")),
        ([Outcome(1, LEDGER_ONLY), Outcome(2, DELIVERED, "ack-2"), Outcome(99, DELIVERED, "x")], (DUPLICATE, "ack-1")),
        ([Outcome(1, DELIVERED)], (DUPLICATE, "ack-1")),
        ([Outcome(1, DELIVERED, "ack-3")], (DELIVERED, "ack-3")),
        ([], (DELIVERED, "ack-3")),
    ]
    async with opened() as index:
        await filled(index, [row(1), row(2), row(3)])
        for outcomes, expected in steps:
            await index.projection.note(outcomes)
            (known,) = await index.lookup.find([Wanted("OMEN-0001")])
            assert known is not None
            assert (known.status, known.ack_id) == expected
        assert [(item.status, item.ack_id) for item in (await index.lookup.page(Query())).items] == [
            (0, ""),
            (DELIVERED, "ack-2"),
            (DELIVERED, "ack-3"),
        ]
        await index.projection.cut(1)
        await index.projection.put([row(2)], mark(2), 1)
        (known,) = await index.lookup.find([Wanted("OMEN-0002")])
        assert known is not None
        assert (known.status, known.ack_id) == (0, "")


INDEX_EXERCISES: Final[Sequence[Exercise]] = (
    begins_as_nobodys,
    keeps_what_was_put,
    moves_only_from_where_it_stands,
    finds_the_first,
    tells_nothing_it_is_not_true_to,
    pages_as_filtered,
    counts_and_times_as_filtered,
    times_that_fall,
    looks_at_so_many,
    forgets_what_is_cut,
    notes_what_became,
)
