"""
What every engine of the store must do, the fake of the tests included. `test_store.py` runs it over each of them.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from omen_rpc.signal_codec import position_hash
from riskcast_server.store import Receipt, Store
from tests.contracts.arrivals import DAY, DIRECT, HOT_PATH, RECONCILE, UNSPECIFIED, arrival, event_of, run, signal_id


class Opener(Protocol):
    """
    Opens one and the same store as often as it is called, one after the other.
    """

    def __call__(
        self, *, now: Callable[[], datetime] = ..., acks: Callable[[int], list[str]] = ...
    ) -> AbstractAsyncContextManager[Store]:
        """
        Open it.
        """


Exercise = Callable[[Opener], Awaitable[None]]


async def first_one_is_accepted(opened: Opener) -> None:
    """
    A new signal's receipt says what was stored, and what is stored reads back whole.
    """
    sent = arrival(1, 7, request_id="call-1")
    async with opened(now=lambda: datetime(2026, 1, 28, 12, 0, 0, 123456, UTC)) as store:
        (receipt,) = await store.signals.put([sent])
        stored = await store.signals.get(signal_id(1))
    at = Timestamp(seconds=1_769_601_600, nanos=123_456_000)
    assert receipt == Receipt(
        signal_id(1), receipt.ack_id, at, HOT_PATH, "call-1", sent.content_digest, duplicate=False
    )
    assert receipt.ack_id.startswith("riskcast-ack-")
    assert int(receipt.ack_id.removeprefix("riskcast-ack-"), 16) >= 0
    assert len(receipt.ack_id) == len("riskcast-ack-") + 16
    assert stored is not None
    assert stored.event == event_of(sent)
    assert (stored.signal_id, stored.ack_id, stored.trace_id) == (signal_id(1), receipt.ack_id, f"{1:016x}")
    assert (stored.processed_at, stored.emitted_at) == (at, event_of(sent).emitted_at)
    assert (stored.partition_date, stored.ledger_partition) == (DAY, DAY)
    assert (stored.ledger_index, stored.ledger_sequence) == (7, (1 << 32) + 7)
    assert (stored.origin, stored.request_id) == (HOT_PATH, "call-1")
    assert stored.content_digest == sent.content_digest


async def duplicate_gets_the_original_receipt(opened: Opener) -> None:
    """
    The same signal again, also after the store was opened anew, gets the first receipt, whoever sends it and how.
    """
    async with opened() as store:
        (first,) = await store.signals.put([arrival(1, 7, request_id="first")])
    async with opened() as store:
        (again,) = await store.signals.put([arrival(1, 7, request_id="second", origin=RECONCILE)])
        stats = await store.signals.stats()
    assert again.duplicate
    assert not again.content_conflict
    assert (again.ack_id, again.processed_at) == (first.ack_id, first.processed_at)
    assert (again.origin, again.request_id) == (HOT_PATH, "first")
    assert (stats.stored, stats.conflicts_on_record) == (1, 0)


async def batch_with_one_id_twice(opened: Opener) -> None:
    """
    Two of one id in a batch are one accepted and one duplicate with the same ack, in order.
    """
    async with opened() as store:
        sent = [arrival(1, 1), arrival(2, 2), arrival(1, 1), arrival(1, 1, title="Another title")]
        receipts = await store.signals.put(sent)
        stats = await store.signals.stats()
    assert [receipt.signal_id for receipt in receipts] == [signal_id(number) for number in (1, 2, 1, 1)]
    assert [receipt.duplicate for receipt in receipts] == [False, False, True, True]
    assert [receipt.content_conflict for receipt in receipts] == [False, False, False, True]
    assert len({receipt.ack_id for receipt in receipts}) == 2
    assert (stats.stored, stats.conflicts_on_record) == (2, 1)


async def other_content_is_a_conflict(opened: Opener) -> None:
    """
    The same id with other content is a duplicate in conflict: on record once, and the row is as it was.
    """
    sent, changed = arrival(1, 7), arrival(1, 7, title="Another title", request_id="liar", origin=RECONCILE)
    async with opened() as store:
        (first,) = await store.signals.put([sent])
        (again,) = await store.signals.put([changed])
        await store.signals.put([changed])
        stored = await store.signals.get(signal_id(1))
        conflicts = (await store.signals.list_conflicts()).items
    assert again.duplicate
    assert again.content_conflict
    assert again.ack_id == first.ack_id
    assert again.content_digest == sent.content_digest
    assert stored is not None
    assert stored.event == event_of(sent)
    (conflict,) = conflicts
    assert (conflict.kind, conflict.signal_id, conflict.holder_signal_id) == ("content", signal_id(1), "")
    assert (conflict.stored_digest, conflict.offered_digest) == (sent.content_digest, changed.content_digest)
    assert (conflict.origin, conflict.request_id) == (RECONCILE, "liar")
    assert (conflict.ledger_partition, conflict.ledger_index) == (DAY, 7)


async def duplicate_at_another_position(opened: Opener) -> None:
    """
    The same content at other positions is no conflict, and each position is recorded, also within a batch.
    """
    async with opened() as store:
        await store.signals.put([arrival(1, 1)])
        receipts = await store.signals.put([arrival(1, 2), arrival(1, 3, origin=RECONCILE)])
        receipts += await store.signals.put([arrival(2, 4), arrival(2, 5), arrival(2, 1, partition=f"{DAY}-late")])
        answer = await store.positions.coverage(DAY, 1, 5)
        late = await store.positions.coverage(f"{DAY}-late", 1, 1)
        listed = await store.positions.positions(DAY, 1, 5)
    assert not any(receipt.content_conflict for receipt in receipts)
    assert (answer.count, list(answer.missing)) == (5, [])
    assert (late.count, list(late.missing)) == (1, [])
    assert [position.signal_id for position in listed] == [signal_id(number) for number in (1, 1, 1, 2, 2)]


async def conflicting_position_counts_what_is_kept(opened: Opener) -> None:
    """
    The position of a conflicting duplicate is recorded, with the digest of what is kept: the fingerprints differ.
    """
    kept, offered = arrival(1, 1), arrival(1, 2, title="Another title")
    async with opened() as store:
        await store.signals.put([kept])
        await store.signals.put([offered])
        answer = await store.positions.coverage(DAY, 2, 2)
        listed = await store.positions.positions(DAY, 2, 2)
    assert list(answer.missing) == []
    assert [position.content_digest for position in listed] == [kept.content_digest]
    assert (answer.fingerprint_hi, answer.fingerprint_lo) == position_hash(DAY, 2, signal_id(1), kept.content_digest)


async def position_held_by_another(opened: Opener) -> None:
    """
    A position stays with the signal that came first; the other one is stored, without a position, on record.
    """
    async with opened() as store:
        await store.signals.put([arrival(1, 7)])
        receipts = await store.signals.put([arrival(2, 7, request_id="thief")])
        receipts += await store.signals.put([arrival(3, 8), arrival(4, 8)])
        listed = await store.positions.positions(DAY, 1, 10)
        conflicts = (await store.signals.list_conflicts()).items
        stats = await store.signals.stats()
    assert not any(receipt.duplicate or receipt.content_conflict for receipt in receipts)
    assert [(each.index, each.signal_id) for each in listed] == [(7, signal_id(1)), (8, signal_id(3))]
    assert [(each.kind, each.signal_id, each.holder_signal_id) for each in conflicts] == [
        ("position", signal_id(4), signal_id(3)),
        ("position", signal_id(2), signal_id(1)),
    ]
    assert conflicts[1].request_id == "thief"
    assert (stats.stored, stats.unpositioned) == (4, 2)


async def direct_ingest_holds_no_position(opened: Opener) -> None:
    """
    What a DIRECT sender claims about the ledger is not believed; from OMEN the same signal gets its position later.
    """
    async with opened() as store:
        await store.signals.put([arrival(1, 7, origin=DIRECT), arrival(2), arrival(3, 3)])
        await store.signals.put([arrival(4, emitted_at_s=0)])
        stored = await store.signals.get(signal_id(1))
        before = await store.positions.coverage(DAY, 1, 10)
        total_before = (await store.signals.stats()).unpositioned
        await store.signals.put([arrival(1, 7)])
        after = await store.positions.coverage(DAY, 1, 10)
        late = await store.positions.coverage(f"{DAY}-late", 1, 10)
        stats = await store.signals.stats()
    assert stored is not None
    assert (stored.ledger_partition, stored.ledger_index, stored.ledger_sequence) == ("", 0, 0)
    assert (before.count, before.unpositioned, total_before) == (1, 2, 3)
    assert (after.count, after.unpositioned, late.unpositioned, stats.unpositioned) == (2, 1, 1, 2)
    assert dict(stats.stored_by_origin) == {"hot_path": 3, "reconcile": 0, "direct": 1}


async def one_id_from_many_at_once(opened: Opener) -> None:
    """
    Of 50 concurrent puts of one signal one is accepted, and 49 are duplicates with its ack.
    """
    async with opened() as store:
        told = await asyncio.gather(*(store.signals.put([arrival(1, 1, request_id=f"{n}")]) for n in range(50)))
        stats = await store.signals.stats()
    receipts = [receipt for receipts in told for receipt in receipts]
    assert sum(not receipt.duplicate for receipt in receipts) == 1
    (winner,) = (f"{n}" for n, receipt in enumerate(receipts) if not receipt.duplicate)
    assert {(receipt.ack_id, receipt.request_id) for receipt in receipts} == {(receipts[0].ack_id, winner)}
    assert stats.stored == 1


async def many_ids_at_once(opened: Opener) -> None:
    """
    Of 100 concurrent puts of distinct signals all are accepted, each with an ack of its own.
    """
    async with opened() as store:
        told = await asyncio.gather(*(store.signals.put([each]) for each in run(1, 100)))
        answer = await store.positions.coverage(DAY, 1, 100)
    receipts = [receipt for receipts in told for receipt in receipts]
    assert [receipt.signal_id for receipt in receipts] == [signal_id(number) for number in range(1, 101)]
    assert not any(receipt.duplicate for receipt in receipts)
    assert len({receipt.ack_id for receipt in receipts}) == 100
    assert answer.count == 100


async def batch_larger_than_a_transaction(opened: Opener) -> None:
    """
    A batch of more signals than share a transaction is stored as a whole, with its receipts in order.
    """
    async with opened() as store:
        receipts = await store.signals.put([*run(1, 500), *run(1, 100)])
        stats = await store.signals.stats()
    expected = [*range(1, 501), *range(1, 101)]
    assert [receipt.signal_id for receipt in receipts] == [signal_id(number) for number in expected]
    assert [receipt.duplicate for receipt in receipts] == [False] * 500 + [True] * 100
    assert stats.stored == 500


async def ack_drawn_twice(opened: Opener) -> None:
    """
    An ack that somebody has is drawn again, so that acks stay unique.
    """
    draws = (f"riskcast-ack-{number:016x}" for number in itertools.chain([1], itertools.count(1)))
    async with opened(acks=lambda count: list(itertools.islice(draws, count))) as store:
        receipts = await store.signals.put([arrival(1, 1)])
        receipts += await store.signals.put([arrival(2, 2)])
    assert len({receipt.ack_id for receipt in receipts}) == 2


async def nothing_to_put(opened: Opener) -> None:
    """
    An empty put says whether the store can write, and stores nothing.
    """
    async with opened() as store:
        assert await store.signals.put([]) == []
        assert (await store.signals.stats()).stored == 0


async def lookup_tells_what_is_known(opened: Opener) -> None:
    """
    A lookup has the receipts of the stored signals in the order asked, each once, and nothing of the others.
    """
    async with opened() as store:
        given = await store.signals.put(run(1, 3))
        found = await store.signals.lookup([signal_id(number) for number in (3, 9, 1, 3)])
        missing = await store.signals.get(signal_id(9))
    assert [(receipt.signal_id, receipt.ack_id) for receipt in found] == [
        (signal_id(3), given[2].ack_id),
        (signal_id(1), given[0].ack_id),
    ]
    assert all(receipt.duplicate and not receipt.content_conflict for receipt in found)
    assert missing is None


async def list_in_pages(opened: Opener) -> None:
    """
    Pages under each filter hold every signal once, in the order they were stored.
    """
    async with opened() as store:
        for number in range(1, 31):
            partition = DAY if number % 3 else f"{DAY}-late"
            origin = (HOT_PATH, RECONCILE, DIRECT)[number % 2 + number % 5 // 4]
            await store.signals.put([arrival(number, number, partition=partition, origin=origin)])
        everything = (await store.signals.list_signals(limit=1000)).items
        for partition, origin, limit in itertools.product(
            ("", DAY, f"{DAY}-late"), (UNSPECIFIED, HOT_PATH, DIRECT), (1, 7, 10)
        ):
            listed, cursor = [], 0
            while True:
                page = await store.signals.list_signals(partition=partition, origin=origin, after=cursor, limit=limit)
                assert len(page.items) <= limit
                listed += page.items
                cursor = page.cursor
                if not cursor:
                    break
            assert listed == [
                each for each in everything if partition in ("", each.ledger_partition) and origin in (0, each.origin)
            ]
    assert [each.signal_id for each in everything] == [signal_id(number) for number in range(1, 31)]


async def list_ends_a_page_by_bytes(opened: Opener) -> None:
    """
    A page ends once its events come to the bytes allowed, and has one signal at least.
    """
    sent = [arrival(number, number, title="x" * 400) for number in range(1, 8)]
    size_bytes = len(sent[0].signal_data)
    async with opened() as store:
        await store.signals.put(sent)
        lengths: list[int] = []
        cursor = 0
        while not lengths or cursor:
            page = await store.signals.list_signals(after=cursor, bytes_max=2 * size_bytes + 1)
            lengths.append(len(page.items))
            cursor = page.cursor
        smallest = await store.signals.list_signals(bytes_max=1)
    assert lengths == [3, 3, 1]
    assert len(smallest.items) == 1


async def conflicts_in_pages(opened: Opener) -> None:
    """
    Conflicts are listed newest first, a page at a time.
    """
    async with opened() as store:
        await store.signals.put([arrival(1, 1)])
        for number in range(10):
            await store.signals.put([arrival(1, 1, title=f"Title {number}", request_id=f"{number}")])
        listed: list[str] = []
        cursor = 0
        while not listed or cursor:
            page = await store.signals.list_conflicts(before=cursor, limit=3)
            listed += [conflict.request_id for conflict in page.items]
            cursor = page.cursor
    assert listed == [f"{number}" for number in reversed(range(10))]


SIGNAL_EXERCISES: Final[list[Exercise]] = [
    first_one_is_accepted,
    duplicate_gets_the_original_receipt,
    batch_with_one_id_twice,
    other_content_is_a_conflict,
    duplicate_at_another_position,
    conflicting_position_counts_what_is_kept,
    position_held_by_another,
    direct_ingest_holds_no_position,
    one_id_from_many_at_once,
    many_ids_at_once,
    batch_larger_than_a_transaction,
    ack_drawn_twice,
    nothing_to_put,
    lookup_tells_what_is_known,
    list_in_pages,
    list_ends_a_page_by_bytes,
    conflicts_in_pages,
]
