import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from omen.v1.signal_pb2 import SignalEvent
from omen_client import AlreadyExists, CallError, Connection, Duplicate, Ingested, InvalidRequest, RiskCastClient
from omen_rpc.gate import Gate
from omen_rpc.position import unpack
from omen_rpc.status import from_rpc_error
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.riskcast_server.signals import DAY, riskcast, signal


async def ingest(connection: Connection, event: SignalEvent, **more: Any) -> pb.IngestResponse | CallError:
    """
    Call Ingest once, with nothing of the client between.
    """
    stub = IngestServiceStub(connection.calls)
    try:
        return await stub.Ingest(pb.IngestRequest(signal=event, **more))
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)


class Asked:
    """
    A call's context that counts how often it has made the metadata.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self.times = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> Any:
        """
        Make it.
        """
        self.times += 1
        return self._context.invocation_metadata()


async def test_metadata_is_made_once_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The gate, the key ring and Ingest read what grpc makes anew at every question from one copy of it.
    """
    contexts: list[Asked] = []
    answer = Gate._answer

    async def counted(gate: Gate, endpoint: Any, context: Any, run: Any) -> Any:
        asked: Any = Asked(context)
        contexts.append(asked)
        return await answer(gate, endpoint, asked, run)

    monkeypatch.setattr(Gate, "_answer", counted)
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        assert isinstance(await client.ingest_alone(signal()), Ingested)
    assert [context.times for context in contexts] == [1]


@pytest.mark.parametrize("callers", [20, 50])
async def test_concurrent_ingest_dedupe(tmp_path: Path, callers: int) -> None:
    """
    Of many calls at one moment with one signal, one is OK and all others get ALREADY_EXISTS with its ack, thrice.
    """
    async with riskcast(tmp_path / "riskcast.db") as server:
        connections = [Connection(str(server.address), attempts_max=1) for _ in range(4)]
        barrier = asyncio.Barrier(callers)

        async def call(number: int) -> pb.IngestResponse | CallError:
            connection = connections[number % len(connections)]
            await connection.calls.channel_ready()
            await barrier.wait()
            return await ingest(connection, signal(), request_id=f"call-{number}")

        replies = await asyncio.gather(*(call(number) for number in range(callers)))
        (winner,) = [reply for reply in replies if isinstance(reply, pb.IngestResponse)]
        losers = [reply for reply in replies if isinstance(reply, AlreadyExists)]
        assert len(losers) == callers - 1
        for loser in losers:
            (detail,) = loser.details
            assert isinstance(detail, pb.SignalAlreadyIngested)
            assert detail.receipt.ack_id == winner.ack_id
            assert loser.metadata["ack_id"] == winner.ack_id
            assert loser.trailers["x-ack-id"] == winner.ack_id
            assert winner.ack_id in loser.message
        async with RiskCastClient(str(server.address)) as client:
            assert (await client.stats()).stored == 1
        for connection in connections:
            await connection.close()


async def test_the_same_id_in_calls_and_batches_at_once_is_stored_once(tmp_path: Path) -> None:
    """
    Whether it comes by Ingest, by IngestBatch, or twice in one batch: one is accepted, the rest are its duplicates.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        batch = [pb.IngestBatchItem(signal=signal(), request_id="b"), pb.IngestBatchItem(signal=signal())]
        alone = [client.ingest_alone(signal()) for _ in range(10)]
        together = [client.ingest_batch(batch) for _ in range(5)]
        outcomes: list[Any] = []
        for reply in await asyncio.gather(*alone, *together):
            outcomes += reply if isinstance(reply, list) else [reply]
        kinds = Counter(type(outcome) for outcome in outcomes)
        assert kinds == {Ingested: 1, Duplicate: 19}
        assert len({outcome.ack_id for outcome in outcomes}) == 1


async def test_an_ack_has_its_form_and_outlives_a_restart(tmp_path: Path) -> None:
    """
    `riskcast-ack-` and 16 hex digits, the same after the server was started anew.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        first = await client.ingest(signal(), request_id="mine")
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        again = await client.ingest(signal(), request_id="another")
    assert isinstance(first, Ingested)
    assert len(first.ack_id) == len("riskcast-ack-") + 16
    assert int(first.ack_id.removeprefix("riskcast-ack-"), 16) >= 0
    assert isinstance(again, Duplicate)
    assert (again.ack_id, again.request_id, again.content_conflict) == (first.ack_id, "mine", False)
    assert again.processed_at == first.processed_at


async def test_other_content_under_a_known_id_is_a_conflict_and_changes_nothing(tmp_path: Path) -> None:
    """
    The original ack comes back with `content_conflict`, the row stays, and the conflict is listed with both digests.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        first = await client.ingest(signal(title="one title"))
        second = await client.ingest(signal(title="another title"))
        assert isinstance(first, Ingested)
        assert isinstance(second, Duplicate)
        assert second.ack_id == first.ack_id
        assert second.content_conflict
        assert (await client.processed(signal().signal_id)).event.signal.title == "one title"
        (conflict,) = [each async for each in client.conflicts()]
        assert conflict.kind == "content"
        assert conflict.stored_digest != conflict.offered_digest
        async with Connection(str(server.address), attempts_max=1) as connection:
            third = await ingest(connection, signal(title="a third title"))
        assert isinstance(third, AlreadyExists)
        assert third.reason == "SIGNAL_CONTENT_CONFLICT"
        assert (await client.stats()).conflicts == 2


async def test_a_borrowed_digest_does_not_hide_other_content(tmp_path: Path) -> None:
    """
    A duplicate that claims the stored digest over another content is found out.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        honest = signal(index=1)
        forged = signal(title="not what was said", index=1)
        forged.content_digest = honest.content_digest
        hot_path = pb.INGEST_ORIGIN_HOT_PATH
        assert isinstance(await client.ingest(honest, origin=hot_path), Ingested)
        again = await client.ingest(honest, origin=hot_path)
        assert isinstance(again, Duplicate)
        assert not again.content_conflict
        outcome = await client.ingest(forged, origin=hot_path)
        assert isinstance(outcome, Duplicate)
        assert outcome.content_conflict
        assert len([each async for each in client.conflicts()]) == 1


async def test_a_digest_is_believed_of_omen_only(tmp_path: Path) -> None:
    """
    Whoever brings a signal directly may claim any digest: it is computed, and OMEN's signal is no conflict with it.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        claimed = signal(index=1)
        claimed.content_digest = f"sha256:{0:064x}"
        assert isinstance(await client.ingest(claimed), Ingested)
        outcome = await client.ingest(signal(index=1), origin=pb.INGEST_ORIGIN_HOT_PATH)
        assert isinstance(outcome, Duplicate)
        assert not outcome.content_conflict


async def test_the_same_content_at_another_position_is_no_conflict(tmp_path: Path) -> None:
    """
    Another `ledger_*` or `emitted_at` changes no content; the new position counts as held.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        first, moved = signal(index=1), signal(index=3)
        moved.emitted_at.seconds += 60
        reconcile = pb.INGEST_ORIGIN_RECONCILE
        assert isinstance(await client.ingest(first, origin=pb.INGEST_ORIGIN_HOT_PATH), Ingested)
        outcome = await client.ingest(moved, origin=reconcile)
        assert isinstance(outcome, Duplicate)
        assert not outcome.content_conflict
        coverage = await client.coverage(DAY, 9)
        assert [(each.first, each.last) for each in coverage.missing] == [(2, 2), (4, 9)]
        assert coverage.count == 2
        packed = await client.coverage(DAY, 9, packed=True)
        assert (list(unpack(packed.missing_packed)), list(packed.missing)) == ([(2, 2), (4, 9)], [])


async def test_whoever_is_not_omen_holds_no_position(tmp_path: Path) -> None:
    """
    A direct ingest's `ledger_*` fields are no position, whatever they claim.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        assert isinstance(await client.ingest(signal(index=1)), Ingested)
        coverage = await client.coverage(DAY, 1)
        assert [(each.first, each.last) for each in coverage.missing] == [(1, 1)]
        assert coverage.unpositioned == 1


async def test_a_hundred_distinct_signals_at_once_are_all_stored(tmp_path: Path) -> None:
    """
    100 concurrent calls with signals of their own give 100 acks, all different.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        outcomes = await asyncio.gather(*(client.ingest_alone(signal(number)) for number in range(100)))
        assert {type(outcome) for outcome in outcomes} == {Ingested}
        assert len({outcome.ack_id for outcome in outcomes}) == 100


BAD: list[tuple[str, str, Callable[[SignalEvent], Any]]] = [
    ("no id", "signal.signal_id", lambda e: e.ClearField("signal_id")),
    ("another shape of id", "signal.signal_id", lambda e: setattr(e, "signal_id", "omen-1")),
    ("lookalike letters", "signal.signal_id", lambda e: setattr(e, "signal_id", "OMEN-ТEST000001")),  # noqa: RUF001
    ("no time", "signal.emitted_at", lambda e: e.ClearField("emitted_at")),
    ("year 0", "signal.emitted_at", lambda e: setattr(e.emitted_at, "seconds", -62_135_596_801)),
    ("year 10000", "signal.emitted_at", lambda e: setattr(e.emitted_at, "seconds", 253_402_300_800)),
    ("negative nanoseconds", "signal.observed_at", lambda e: setattr(e.observed_at, "nanos", -1)),
    ("no payload", "signal.signal", lambda e: e.ClearField("signal")),
    ("ids that differ", "signal.signal.signal_id", lambda e: setattr(e.signal, "signal_id", "OMEN-OTHER")),
    ("traces that differ", "signal.signal.trace_id", lambda e: setattr(e.signal, "trace_id", "f" * 16)),
    ("no title", "signal.signal.title", lambda e: e.signal.ClearField("title")),
    ("501 characters", "signal.signal.title", lambda e: setattr(e.signal, "title", "x" * 501)),
    ("a NUL", "signal.signal.title", lambda e: setattr(e.signal, "title", "a\0b")),
    ("a newline", "signal.signal.title", lambda e: setattr(e.signal, "title", "a\nb")),
    ("NaN", "signal.signal.probability", lambda e: setattr(e.signal, "probability", float("nan"))),
    ("infinity", "signal.signal.confidence_score", lambda e: setattr(e.signal, "confidence_score", float("inf"))),
    ("just above 1", "signal.signal.probability", lambda e: setattr(e.signal, "probability", 1.0000001)),
    ("below 0", "signal.signal.probability", lambda e: setattr(e.signal, "probability", -0.1)),
    ("a level that does not fit", "signal.signal.confidence_level", lambda e: setattr(e.signal, "confidence_level", 1)),
    ("a path", "signal.ledger_partition", lambda e: setattr(e, "ledger_partition", "../../etc")),
    ("no real date", "signal.ledger_partition", lambda e: setattr(e, "ledger_partition", "2026-02-30")),
    ("a huge index", "signal.ledger_index", lambda e: setattr(e, "ledger_index", (1 << 64) - 1)),
    ("a huge sequence", "signal.ledger_sequence", lambda e: setattr(e, "ledger_sequence", (1 << 64) - 1)),
    ("a bad digest", "signal.content_digest", lambda e: setattr(e, "content_digest", "sha256:xyz")),
    ("hidden fields", "signal.unrecognised_json", lambda e: setattr(e, "unrecognised_json", "not json")),
]


@pytest.mark.parametrize(("field", "spoil"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_field_that_breaks_its_rule_is_named(
    tmp_path: Path, field: str, spoil: Callable[[SignalEvent], Any]
) -> None:
    """
    INVALID_ARGUMENT names the field by its path, alone and in a batch, and the batch's others are stored.
    """
    event = signal()
    spoil(event)
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.ingest_alone(event)
        assert field in {each.field for each in caught.value.violations}
        items = [pb.IngestBatchItem(signal=each) for each in (signal(7), event, signal(8))]
        good, bad, also_good = await client.ingest_batch(items)
        assert isinstance(good, Ingested)
        assert isinstance(also_good, Ingested)
        assert isinstance(bad, InvalidRequest)
        assert f"items[1].{field}" in {each.field for each in bad.violations}
        assert (await client.stats()).refused == 2


async def test_edges_that_are_allowed_are_stored_as_they_came(tmp_path: Path) -> None:
    """
    0, 1, no probability at all, 500 characters, an unknown category and unknown fields come back as they were sent.
    """
    events = [signal(number) for number in range(4)]
    events[0].signal.probability = 0.0
    events[1].signal.probability = 1.0
    events[1].signal.title = "ü" * 500
    events[2].signal.ClearField("probability")
    events[3].signal.category = 99  # type: ignore[assignment]  # a category of a later version
    later = SignalEvent.FromString(events[3].SerializeToString() + b"\xf2\x3f\x05later")
    events[3] = later
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        for event in events:
            assert isinstance(await client.ingest(event), Ingested)
            kept = (await client.processed(event.signal_id)).event
            assert kept.SerializeToString(deterministic=True) == event.SerializeToString(deterministic=True)


async def test_an_idempotency_key_must_be_the_signals_id(tmp_path: Path) -> None:
    """
    Another key is refused before anything is stored; the same one, or none, is fine.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, Connection(str(server.address)) as connection:
        stub = IngestServiceStub(connection.calls)
        request = pb.IngestRequest(signal=signal())
        with pytest.raises(InvalidRequest) as caught:
            await connection.call(stub.Ingest, request, metadata=[("x-idempotency-key", "OMEN-OTHER")])
        assert caught.value.reason == "IDEMPOTENCY_KEY_MISMATCH"
        key = [("x-idempotency-key", signal().signal_id)]
        assert (await connection.call(stub.Ingest, request, metadata=key)).ack_id


@pytest.mark.parametrize("count", [0, 501])
async def test_a_batch_has_1_to_500_signals(tmp_path: Path, count: int) -> None:
    """
    An empty batch and one that is too long are refused as a whole.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.ingest_batch([pb.IngestBatchItem()] * count)
        assert caught.value.violations[0].field == "items"


async def test_an_origin_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """
    An unknown origin is named; none at all counts as direct.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.ingest_alone(signal(), origin=17)  # type: ignore[arg-type]  # the point of the test
        assert caught.value.violations[0].field == "origin"
        await client.ingest_alone(signal(), origin=pb.INGEST_ORIGIN_UNSPECIFIED)
        assert (await client.processed(signal().signal_id)).origin == pb.INGEST_ORIGIN_DIRECT


async def test_a_signal_above_256_kib_is_refused(tmp_path: Path) -> None:
    """
    The size that came and the size that may be are in the error.
    """
    event = signal()
    event.signal.routing_hints.extend("x" * 190 for _ in range(1500))
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.ingest_alone(event)
        assert caught.value.reason == "SIGNAL_TOO_LARGE"
        assert int(caught.value.metadata["size_bytes"]) > 256 << 10


async def test_another_major_schema_is_refused(tmp_path: Path) -> None:
    """
    1.x of any x is taken, 2.0.0 is not.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        later, other = signal(1), signal(2)
        later.schema_version, other.schema_version = "1.9.0", "2.0.0"
        assert isinstance(await client.ingest(later), Ingested)
        with pytest.raises(InvalidRequest) as caught:
            await client.ingest(other)
        assert caught.value.reason == "SCHEMA_VERSION_UNSUPPORTED"


async def test_what_is_hidden_from_the_rules_is_found(tmp_path: Path) -> None:
    """
    A known field inside the keys that nobody knows is checked like any other.
    """
    event = signal()
    event.signal.ClearField("probability")
    event.unrecognised_json = '{"signal":{"probability":7}}'
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.ingest(event)
        assert "probability" in caught.value.violations[0].field


async def test_stats_count_what_happened(tmp_path: Path) -> None:
    """
    Accepted, duplicates, conflicts and refused are counted, and what is stored by origin.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        await client.ingest(signal(1))
        await client.ingest(signal(2, index=1), origin=pb.INGEST_ORIGIN_HOT_PATH)
        await client.ingest(signal(1))
        await client.ingest(signal(1, title="other"))
        with pytest.raises(InvalidRequest):
            await client.ingest(SignalEvent())
        stats = await client.stats()
    counted = MessageToDict(stats, preserving_proto_field_name=True)
    assert {key: counted[key] for key in ("accepted", "duplicates", "conflicts", "refused", "stored")} == {
        "accepted": "2",
        "duplicates": "2",
        "conflicts": "1",
        "refused": "1",
        "stored": "2",
    }
    assert dict(stats.stored_by_origin) == {"direct": 1, "hot_path": 1, "reconcile": 0}
    assert stats.unpositioned == 1
