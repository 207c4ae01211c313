"""
Messages that are hostile in what they say: RiskCast answers each in words, takes nothing, and works on.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from omen_client import CallError, Ingested, RiskCastClient
from omen_rpc.status import from_rpc_error
from riskcast.v1 import ingest_service_pb2 as pb
from tests.hostile.vitals import check_back, vitals
from tests.processes import ServerProcess, running
from tests.riskcast_server.signals import signal

MIB = 1 << 20
EMPTY_ITEM = b"\x0a\x00"  # Field 1, no bytes: an item of a batch that says nothing.
INT64_MAX = (1 << 63) - 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def riskcast(root: Path) -> AsyncIterator[ServerProcess]:
    """
    Run one RiskCast for all of this module.
    """
    async with running("riskcast-server", cwd=root) as server:
        yield server


async def raw(server: ServerProcess, method: str, body: bytes) -> CallError | bytes:
    """
    Send *body* as it is, and return the reply's bytes or the error.
    """
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary(f"/riskcast.v1.IngestService/{method}")
        try:
            reply: bytes = await call(body, timeout=20)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        return reply


async def check_works(server: ServerProcess, number: int) -> None:
    """
    Check that a good signal is stored now.
    """
    async with RiskCastClient(server.address) as client:
        assert isinstance(await client.ingest(signal(number)), Ingested)


@pytest.mark.asyncio(loop_scope="module")
async def test_half_a_million_empty_items_are_counted_and_refused(riskcast: ServerProcess) -> None:
    """
    As many empty items as one message has room for are refused by their number, twenty times over, and leave nothing.
    """
    await check_works(riskcast, 1)
    before = await vitals(riskcast)
    for _ in range(20):
        refused = await raw(riskcast, "IngestBatch", EMPTY_ITEM * (MIB // 2 - 100))
        assert isinstance(refused, CallError)
        assert (refused.reason, refused.violations[0].field) == ("INVALID_FIELDS", "items")
    await check_back(riskcast, before, growth_bytes_max=96 * MIB)
    await check_works(riskcast, 2)


@pytest.mark.asyncio(loop_scope="module")
async def test_two_million_empty_items_are_more_than_a_message(riskcast: ServerProcess) -> None:
    """
    4 MB are refused before they are parsed.
    """
    refused = await raw(riskcast, "IngestBatch", EMPTY_ITEM * 2_000_000)
    assert isinstance(refused, CallError)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await check_works(riskcast, 3)


MALFORMED = {
    "not utf-8": pb.IngestRequest(request_id="xx").SerializeToString().replace(b"xx", b"\xff\xfe"),
    "a field cut short": b"\x0a\x7f\x01",
    "a tag that is none": b"\x00\x00\x00",
    "groups within groups": b"\xbb\x3e" * 5000,
    "an endless number": b"\x10" + b"\xff" * 11,
    "the wrong kind under a field": b"\x08\x01" * 10 + b"\x0a\x05" + b"\xff" * 5,
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_bytes_that_are_no_message_are_refused_as_such(riskcast: ServerProcess, body: bytes) -> None:
    """
    INVALID_ARGUMENT with a reason, and the next good signal is stored.
    """
    refused = await raw(riskcast, "Ingest", body)
    assert isinstance(refused, CallError)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


EDGES: dict[str, tuple[str, Any]] = {
    "the end of time": ("emitted_at.seconds", INT64_MAX),
    "before time": ("emitted_at.seconds", -INT64_MAX),
    "the largest sequence": ("ledger_sequence", (1 << 64) - 1),
    "a path": ("ledger_partition", "../../../etc/passwd"),
    "ansi in a title": ("signal.title", "\x1b[31mred\x1b[0m"),
    "a line separator": ("signal.title", "one\u2028two"),
    "the largest double": ("signal.probability", 1.7976931348623157e308),
    "minus infinity": ("signal.confidence_score", float("-inf")),
    "an id in other letters": ("signal_id", "OMEN-\u0410\u0412\u0421\u0415"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("path", "value"), EDGES.values(), ids=EDGES.keys())
async def test_values_beyond_their_edges_are_named(riskcast: ServerProcess, path: str, value: Any) -> None:
    """
    INVALID_ARGUMENT names the field, and no log line holds what was sent.
    """
    event: Any = signal(900)
    *parents, last = path.split(".")
    target = event
    for parent in parents:
        target = getattr(target, parent)
    setattr(target, last, value)
    refused = await raw(riskcast, "Ingest", pb.IngestRequest(signal=event).SerializeToString())
    assert isinstance(refused, CallError)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert any(path.partition(".seconds")[0] in each.field for each in refused.violations), refused.violations
    assert not [line for line in riskcast.raw if "passwd" in line or "[31m" in line]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_forged_place_in_the_ledger_is_nobodys(riskcast: ServerProcess) -> None:
    """
    A direct caller's `ledger_*` fields claim no position, whatever they say.
    """
    async with RiskCastClient(riskcast.address) as client:
        assert isinstance(await client.ingest(signal(950, index=77)), Ingested)
        coverage = await client.coverage("2026-01-28", 100)
        assert coverage.count == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_minus_zero_is_zero(riskcast: ServerProcess) -> None:
    """
    Minus zero is the same content as zero.
    """
    first, second = signal(960), signal(960)
    first.signal.probability, second.signal.probability = 0.0, -0.0
    async with RiskCastClient(riskcast.address) as client:
        assert isinstance(await client.ingest(first), Ingested)
        again: Any = await client.ingest(second)
        assert not again.content_conflict
