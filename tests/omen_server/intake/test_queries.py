from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SIGNAL_CATEGORY_LABOR, SIGNAL_CATEGORY_WEATHER, SignalEvent
from omen_client import DataLoss, InvalidRequest, NotFound, PreconditionFailed, check_proof
from omen_client.emitting import item_of
from tests.ledgers import flip, payload_byte
from tests.omen_server.intake.serving import Served, raw_event, ready_signal, served

DAY = datetime(2026, 1, 28, 12, tzinfo=UTC)
RESPONSE_BYTES_MAX = 1 << 20


def moment(at: datetime) -> Timestamp:
    """
    Return a time as the contract has it.
    """
    time = Timestamp()
    time.FromDatetime(at)
    return time


async def fill(at: Served) -> None:
    """
    Emit twelve signals, one an hour, over two days.
    """
    found = await at.omen.emit_all(
        [
            item_of(
                ready_signal(
                    number,
                    title=f"Port strike {number}" if number % 3 == 0 else f"Storm over the Port {number}",
                    category=SIGNAL_CATEGORY_LABOR if number % 3 == 0 else SIGNAL_CATEGORY_WEATHER,
                    source_event_id=f"evt-{number}",
                    trace_id=f"{number:016d}",
                ),
                None,
                f"sha256:{number:064d}",
                DAY + timedelta(hours=6 + number),
            )
            for number in range(12)
        ],
        delivery=pb.DELIVERY_LEDGER,
    )
    assert all(isinstance(each, pb.EmitResult) for each in found)


def numbers(events: list[SignalEvent]) -> list[int]:
    """
    Return which signals these are.
    """
    return [int(event.signal_id[-6:]) for event in events]


async def listed(at: Served, **fields: Any) -> list[int]:
    """
    Return which signals a request lists, over all its pages.
    """
    return numbers([event async for event in at.omen.signals(pb.ListSignalsRequest(**fields))])


QUERIES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ({"page_size": 5}, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ({"partition": "2026-01-28"}, [5, 4, 3, 2, 1, 0]),
    ({"partition": "2026-01-29"}, [11, 10, 9, 8, 7, 6]),
    ({"partition": "2026-01-30"}, []),
    ({"categories": [SIGNAL_CATEGORY_LABOR]}, [9, 6, 3, 0]),
    (
        {"categories": [SIGNAL_CATEGORY_LABOR, SIGNAL_CATEGORY_WEATHER], "page_size": 1, "text": "strike PORT"},
        [9, 6, 3, 0],
    ),
    ({"text": "storm 7"}, [7]),
    ({"text": "100%"}, []),
    ({"trace_ids": [f"{3:016d}", f"{8:016d}", "f" * 16]}, [8, 3]),
    ({"input_event_hash": f"sha256:{4:064d}"}, [4]),
    ({"source_event_id": "evt-10"}, [10]),
    (
        {"emitted_from": moment(DAY + timedelta(hours=10)), "emitted_through": moment(DAY + timedelta(hours=12))},
        [6, 5, 4],
    ),
]


async def check(tmp_path: Path, named: set[str]) -> None:
    """
    Hold every query above that names one of these fields.
    """
    queries = [(fields, expected) for fields, expected in QUERIES if named & fields.keys() or not named | fields.keys()]
    assert queries
    async with served(tmp_path) as at:
        await fill(at)
        for fields, expected in queries:
            assert await listed(at, **fields) == expected, fields


async def test_query_by_time_range(tmp_path: Path) -> None:
    """
    A range of emission leaves what was emitted within it, its ends included, newest first.
    """
    await check(tmp_path, {"emitted_from", "emitted_through"})


async def test_query_by_trace_ids(tmp_path: Path) -> None:
    """
    Trace ids leave their signals; one that nothing has is no error.
    """
    await check(tmp_path, {"trace_ids"})


async def test_query_by_category(tmp_path: Path) -> None:
    """
    Any of the categories will do, and other filters are joined to them by AND.
    """
    await check(tmp_path, {"categories"})


async def test_query_by_everything_else(tmp_path: Path) -> None:
    """
    Partition, text, hash and source each leave what they say, over however many pages.
    """
    await check(tmp_path, {"partition", "text", "input_event_hash", "source_event_id", "page_size"})
    await check(tmp_path / "all", set())


async def test_who_emits_finds(tmp_path: Path) -> None:
    """
    A signal is found by its id and in the list by the very next call.
    """
    async with served(tmp_path) as at:
        for number in range(30):
            await at.omen.emit(ready_signal(number), delivery=pb.DELIVERY_LEDGER)
            assert (await at.omen.signal(f"OMEN-TEST{number:06d}")).event.ledger_offset == number + 1
            assert (await listed(at))[0] == number


async def test_pages_fit_into_a_mebibyte(tmp_path: Path) -> None:
    """
    Pages are cut by bytes as well as by count.
    """
    async with served(tmp_path) as at:
        for start in range(0, 200, 50):
            batch = [
                item_of(ready_signal(number, description="d" * 9000), None, "", DAY)
                for number in range(start, start + 50)
            ]
            await at.omen.emit_all(batch, delivery=pb.DELIVERY_LEDGER)
        request = pb.ListSignalsRequest(page_size=500)
        seen: list[int] = []
        while True:
            page = await at.omen.connection.call(at.omen._signals.ListSignals, request)
            assert page.ByteSize() <= RESPONSE_BYTES_MAX
            assert page.events
            seen += numbers(list(page.events))
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    assert seen == list(reversed(range(200)))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"partition": "2026-02-30"}, "partition"),
        ({"partition": "../etc"}, "partition"),
        ({"trace_ids": ["0" * 16] * 101}, "trace_ids"),
        ({"categories": [1] * 33}, "categories"),
        ({"text": "x" * 201}, "text"),
        ({"text": "x " * 17}, "text"),
        ({"source_event_id": "nul\x00"}, "source_event_id"),
        ({"emitted_from": Timestamp(seconds=1 << 40)}, "emitted_from"),
        ({"page_size": -1}, "page_size"),
    ],
)
async def test_bad_filters_are_named(tmp_path: Path, fields: dict[str, Any], path: str) -> None:
    """
    A filter that makes no sense is refused by its path.
    """
    async with served(tmp_path) as at:
        with pytest.raises(InvalidRequest) as caught:
            await listed(at, **fields)
    assert [each.field for each in caught.value.violations] == [path]


async def test_token_of_another_request(tmp_path: Path) -> None:
    """
    A page token is refused under other filters, and when somebody has been at it.
    """
    async with served(tmp_path) as at:
        await fill(at)
        request = pb.ListSignalsRequest(page_size=3)
        page = await at.omen.connection.call(at.omen._signals.ListSignals, request)
        for token, text in ((page.next_page_token, "storm"), (page.next_page_token[:-2] + "AA", ""), ("x", "")):
            bad = pb.ListSignalsRequest(page_size=3, page_token=token, text=text)
            with pytest.raises(InvalidRequest) as caught:
                await at.omen.connection.call(at.omen._signals.ListSignals, bad)
            assert caught.value.reason == "PAGE_TOKEN_INVALID"


async def test_every_minted_id_is_verified_and_a_forged_one_is_not(tmp_path: Path) -> None:
    """
    Ids that OMEN minted follow from their envelopes; a changed title or id is told, in words.
    """
    async with served(tmp_path) as at:
        results = await at.omen.submit_all([raw_event(f"m{number}") for number in range(5)])
        events = [each.event for each in results if isinstance(each, pb.EmitResult)]
        for event in events:
            answer = await at.omen.verify_signal(event.signal_id)
            assert (answer.matches, answer.minted, answer.event) == (True, True, event)
        forged = SignalEvent()
        forged.CopyFrom(events[0])
        forged.signal.title = "Another"
        assert "content_digest" in " ".join((await at.omen.verify_signal(forged)).differences)
        forged.signal_id = forged.signal.signal_id = "OMEN-0123456789AB"
        answer = await at.omen.verify_signal(forged)
        assert (answer.matches, answer.expected_signal_id) == (False, events[0].signal_id)


async def test_damaged_record_is_told_as_such(tmp_path: Path) -> None:
    """
    A signal whose record was damaged on disk is DATA_LOSS with its place, and the list goes on without it.
    """
    async with served(tmp_path) as at:
        await fill(at)
        await at.omen.signal("OMEN-TEST000002")
    (segment,) = (tmp_path / "ledger").rglob("*2026-01-28/signals-001.wal")
    flip(segment, payload_byte(segment, 2))
    async with served(tmp_path) as at:
        with pytest.raises(DataLoss, match="record 3 of 2026-01-28"):
            await at.omen.signal("OMEN-TEST000002")
        assert await listed(at, partition="2026-01-28") == [5, 4, 3, 1, 0]
        again = await at.omen.emit_all(
            [item_of(ready_signal(2, title="Storm over the Port 2", category=SIGNAL_CATEGORY_WEATHER), None, "", DAY)]
        )
        assert [each.cached for each in again if isinstance(each, pb.EmitResult)] == [False]


async def test_proof_finds_its_partition(tmp_path: Path) -> None:
    """
    A proof is made in the partition that the index names; one of a day that is not sealed says that this is missing.
    """
    async with served(tmp_path) as at:
        await fill(at)
        await at.omen.seal("2026-01-28")
        proof = await at.omen.prove("OMEN-TEST000002")
        whole = check_proof(proof.payload, proof.leaf_index, proof.tree_size, proof.audit_path, proof.merkle_root)
        assert (proof.partition, whole) == ("2026-01-28", True)
        with pytest.raises(PreconditionFailed) as caught:
            await at.omen.prove("OMEN-TEST000009")
        assert (caught.value.reason, caught.value.metadata) == ("PARTITION_NOT_SEALED", {"partition": "2026-01-29"})
        with pytest.raises(NotFound):
            await at.omen.prove("OMEN-NOTHERE")
