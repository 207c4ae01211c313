"""
What no server should be sent, sent to a real OMEN: each is a clear error of the catalogue, and the server goes on.
"""

import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_client import OmenClient
from omen_rpc.errors import CallError
from omen_rpc.status import from_item_error, from_rpc_error
from tests.e2e.pair import all_of, emitted, omen, raw, ready
from tests.hosting import channel_to, refusal

if TYPE_CHECKING:
    from omen.v1.signal_service_pb2_grpc import SignalServiceAsyncStub  # A type that exists in the stubs only.

SEED = 20_260_128
KEPT = 40
FLIPS = 120
INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Hostility:
    """
    A real OMEN with some signals, a stub that checks and retries nothing, and a client to see that all is well.
    """

    def __init__(self, stub: "SignalServiceAsyncStub", client: OmenClient) -> None:
        self.stub = stub
        self.client = client
        self.fresh = 1_000_000

    async def check_well(self) -> None:
        """
        Hold that the server takes a signal and finds it.
        """
        self.fresh += 1
        (event,) = await emitted(self.client, [self.fresh], delivery=pb.DELIVERY_LEDGER)
        assert (await self.client.signal(event.signal_id)).event == event

    async def emit(self, items: Sequence[pb.EmitSignalItem]) -> list[pb.EmitResult | CallError]:
        """
        Emit a batch, and return what became of each.
        """
        request = pb.EmitSignalsRequest(signals=items, delivery=pb.DELIVERY_LEDGER)
        reply = await self.stub.EmitSignals(request, timeout=20)
        return [from_item_error(each.error) if each.HasField("error") else each.result for each in reply.results]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostility]:
    """
    Run one OMEN for all of this module; it ends with 0 and has met nothing unforeseen.
    """
    place = tmp_path_factory.mktemp("hostile")
    async with (
        omen(Path(place), "--riskcast=") as (server, client),
        channel_to(server.address, None, ("grpc.max_send_message_length", -1)) as channel,
    ):
        await emitted(client, range(1, KEPT + 1), delivery=pb.DELIVERY_LEDGER)
        yield Hostility(SignalServiceStub(channel), client)
        assert await server.stop() == 0
        assert not [line for line in server.lines if line["event"] in {"text", "unforeseen_error", "task_ended"}]


pytestmark = pytest.mark.asyncio(loop_scope="module")


def paths(error: CallError) -> list[str]:
    """
    Return the paths of the fields that an error names.
    """
    return [violation.field for violation in error.violations]


@pytest.mark.parametrize("count", [0, 501, 5_000])
async def test_batches_have_their_size(target: Hostility, count: int) -> None:
    """
    An empty batch and one of 501 are refused as a whole, by the list's name, and nothing of them is kept.
    """
    items = [ready(10_000 + number) for number in range(count)]
    for call in (
        target.stub.EmitSignals(pb.EmitSignalsRequest(signals=items), timeout=20),
        target.stub.SubmitEvents(pb.SubmitEventsRequest(events=[raw(1)] * min(count, 501)), timeout=20),
    ):
        error = await refusal(call)
        assert (error.code, error.reason) == (INVALID, "INVALID_FIELDS")
        assert paths(error) in (["signals"], ["events"])
    if items:
        assert (await refusal(target.stub.GetSignal(pb.GetSignalRequest(signal_id=items[0].signal.signal_id)))).reason
    await target.check_well()


def bent(item: pb.EmitSignalItem, **fields: Any) -> pb.EmitSignalItem:
    """
    Return an item whose signal has some fields that are wrong.
    """
    for name, value in fields.items():
        setattr(item.signal, name, value)
    return item


def ahead(item: pb.EmitSignalItem, minutes: float) -> pb.EmitSignalItem:
    """
    Return an item that was emitted in the future.
    """
    item.emitted_at.FromDatetime(datetime.now(UTC) + timedelta(minutes=minutes))
    return item


async def test_bad_signals_are_refused_by_path_and_the_others_kept(target: Hostility) -> None:
    """
    In one batch with good signals: NaN, control characters, six minutes ahead, 300 KB, no title, no id, a title too
    long. Each is an error that names its field by its place in the batch; the good ones are durable.
    """
    items = [
        ready(2_000),
        bent(ready(2_001), probability=nan),
        bent(ready(2_002), title="bell \x07"),
        ahead(ready(2_003), 6),
        bent(ready(2_004), description="x" * 300_000),
        bent(ready(2_005), title=""),
        bent(ready(2_006), signal_id=""),
        bent(ready(2_007), title="x" * 501),
        bent(ready(2_008), description="escape \x1b["),
        ahead(ready(2_009), 4),
        bent(ready(2_010), signal_id="OMEN-lower"),
        ready(2_011),
    ]
    wrong = {
        1: "signals[1].signal.probability",
        2: "signals[2].signal.title",
        3: "signals[3].emitted_at",
        5: "signals[5].signal.title",
        6: "signals[6].signal.signal_id",
        7: "signals[7].signal.title",
        8: "signals[8].signal.description",
        10: "signals[10].signal.signal_id",
    }
    for at, result in enumerate(await target.emit(items)):
        if at in wrong:
            assert isinstance(result, CallError)
            assert (result.code, result.reason, paths(result)) == (INVALID, "INVALID_FIELDS", [wrong[at]])
        elif at == 4:
            assert isinstance(result, CallError)
            assert (result.code, result.reason) == (INVALID, "SIGNAL_TOO_LARGE"), result
            print(result.message)
        else:
            assert isinstance(result, pb.EmitResult)
            assert result.status == pb.EMIT_STATUS_DURABLE
            assert (await target.client.signal(items[at].signal.signal_id)).event == result.event
    await target.check_well()


async def test_a_bad_signal_alone_is_the_error_of_its_call(target: Hostility) -> None:
    """
    The same with EmitSignal is the call's own error; a raw event with NaN is told what is wrong and leads to nothing.
    """
    request = pb.EmitSignalRequest(signal=bent(ready(1), probability=nan).signal)
    error = await refusal(target.stub.EmitSignal(request, timeout=20))
    assert (error.code, error.reason, paths(error)) == (INVALID, "INVALID_FIELDS", ["signal.probability"])
    assert paths(await refusal(target.stub.EmitSignal(pb.EmitSignalRequest(), timeout=20))) == ["signal"]
    assert paths(await refusal(target.stub.SubmitEvent(pb.SubmitEventRequest(), timeout=20))) == ["event"]
    odd = raw(1)
    odd.probability = nan
    reply = await target.stub.SubmitEvent(pb.SubmitEventRequest(event=odd), timeout=20)
    assert (reply.result.status, reply.result.HasField("event")) == (pb.EMIT_STATUS_FILTERED, False)
    await target.check_well()


async def test_a_request_of_four_mebibytes_is_too_large(target: Hostility) -> None:
    """
    It is refused with its size before anybody reads it.
    """
    items = [bent(ready(number), description="x" * 10_000) for number in range(420)]
    error = await refusal(target.stub.EmitSignals(pb.EmitSignalsRequest(signals=items), timeout=20))
    assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    print(error, error.reason)
    await target.check_well()


BAD_LISTS = [
    ({"partition": "2026-13-01"}, "partition"),
    ({"partition": "../../etc"}, "partition"),
    ({"categories": list(range(33))}, "categories"),
    ({"trace_ids": ["a"] * 101}, "trace_ids"),
    ({"text": "x" * 201}, "text"),
    ({"text": "a " * 99}, "text"),
    ({"source_event_id": "x" * 201}, "source_event_id"),
    ({"input_event_hash": "sha256:\x00"}, "input_event_hash"),
    ({"page_size": -1}, "page_size"),
    ({"emitted_from": {"seconds": 1 << 60}}, "emitted_from"),
    ({"emitted_through": {"nanos": -1}}, "emitted_through"),
]


@pytest.mark.parametrize(("asked", "path"), BAD_LISTS)
async def test_filters_out_of_range_are_named(target: Hostility, asked: dict[str, Any], path: str) -> None:
    """
    ListSignals refuses a filter that cannot be, and names it.
    """
    error = await refusal(target.stub.ListSignals(pb.ListSignalsRequest(**asked), timeout=20))
    assert (error.code, error.reason, paths(error)) == (INVALID, "INVALID_FIELDS", [path])


async def test_page_tokens_belong_to_their_request(target: Hostility) -> None:
    """
    A token under other filters, one that is cut, flipped bit by bit, or none at all is PAGE_TOKEN_INVALID or a page of
    the same list, never more; the right one goes on where it was.
    """
    request = pb.ListSignalsRequest(page_size=7)
    first = await target.stub.ListSignals(request, timeout=20)
    token = first.next_page_token
    for other in (
        pb.ListSignalsRequest(page_size=7, page_token=token, text="signal"),
        pb.ListSignalsRequest(page_size=7, page_token=token, categories=[1]),
        pb.ListSignalsRequest(page_size=7, page_token=token[:-4]),
        pb.ListSignalsRequest(page_size=7, page_token="é" * 40),
        pb.ListSignalsRequest(page_size=7, page_token="A" * 5_000),
    ):
        assert (await refusal(target.stub.ListSignals(other, timeout=20))).reason == "PAGE_TOKEN_INVALID"
    everything = {event.ledger_offset async for event in target.client.signals()}
    for flipped in flips(token, random.Random(SEED)):
        try:
            asked = pb.ListSignalsRequest(page_size=7, page_token=flipped)
            page = await target.stub.ListSignals(asked, timeout=20)
        except grpc.aio.AioRpcError as raised:
            assert from_rpc_error(raised).reason == "PAGE_TOKEN_INVALID"
        else:
            assert {event.ledger_offset for event in page.events} <= everything
    second = await target.stub.ListSignals(pb.ListSignalsRequest(page_size=7, page_token=token), timeout=20)
    assert second.events[0].ledger_offset == first.events[-1].ledger_offset - 1


def flips(text: str, chance: random.Random) -> list[str]:
    """
    Return a token or cursor with one bit of what it encodes turned over, many times.
    """
    raw_bytes = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    found = []
    for bit in chance.sample(range(8 * len(raw_bytes)), min(FLIPS, 8 * len(raw_bytes))):
        changed = bytearray(raw_bytes)
        changed[bit // 8] ^= 1 << bit % 8
        found.append(urlsafe_b64encode(changed).decode().rstrip("=") + "=" * (len(text) - len(text.rstrip("="))))
    return found


async def test_cursors_that_were_tampered_with_are_refused(target: Hostility) -> None:
    """
    Whichever bit of a cursor is turned over, it is refused as malformed or not of this ledger, with an earliest cursor
    that works; none starts a stream anywhere else.
    """
    stream: Any = target.stub.StreamSignals(pb.StreamSignalsRequest(from_beginning=True, max_batch=10))
    frames = [await stream.read(), await stream.read()]
    stream.cancel()
    cursor = frames[1].cursor
    reasons = set()
    for flipped in [*flips(cursor, random.Random(SEED)), "", "é", "A" * 257, cursor[:-1], cursor + "A"]:
        request = pb.StreamSignalsRequest(after_cursor=flipped)
        error = await refusal(target.stub.StreamSignals(request, timeout=20).read())
        reasons.add(error.reason)
        if error.reason == "CURSOR_INVALID":
            earliest = error.metadata["earliest_cursor"]
            assert error.code == grpc.StatusCode.OUT_OF_RANGE
        else:
            assert (error.code, error.reason) == (INVALID, "CURSOR_MALFORMED")
    assert reasons == {"CURSOR_INVALID", "CURSOR_MALFORMED"}
    again: Any = target.stub.StreamSignals(pb.StreamSignalsRequest(after_cursor=earliest), timeout=20)
    await again.read()
    assert (await again.read()).batch.events[0].ledger_offset == 1
    again.cancel()
    await target.check_well()


async def test_wishes_out_of_range_are_named(target: Hostility) -> None:
    """
    A stream is refused for each field that is out of its range, all of them at once.
    """
    request = pb.StreamSignalsRequest(from_beginning=True, max_batch=501)
    request.heartbeat_interval.seconds = 61
    request.filter.partitions.append("yesterday")
    request.filter.min_confidence_score = nan
    error = await refusal(target.stub.StreamSignals(request, timeout=20).read())
    assert (error.code, error.reason) == (INVALID, "INVALID_FIELDS")
    assert set(paths(error)) == {
        "max_batch",
        "heartbeat_interval",
        "filter.partitions[0]",
        "filter.min_confidence_score",
    }
    assert len(await all_of(target.client.signals())) >= KEPT
