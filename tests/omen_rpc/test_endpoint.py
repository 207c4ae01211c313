from typing import Any

import pytest
from prometheus_client import REGISTRY

from omen.v1.signal_service_pb2 import (
    EmitSignalItem,
    EmitSignalsRequest,
    GetSignalRequest,
    StreamSignalsRequest,
    SubmitEventsRequest,
)
from omen_rpc.endpoint import endpoints, items_field, probes
from omen_rpc.health import SERVICE as HEALTH
from omen_rpc.health import Health
from riskcast.v1.ingest_service_pb2 import IngestBatchRequest, IngestRequest
from tests.hosting import SIGNALS, Scripted, drained_of, hosted, stub_of


@pytest.mark.parametrize(
    ("request_type", "field"),
    [
        (EmitSignalsRequest, "signals"),
        (SubmitEventsRequest, "events"),
        (IngestBatchRequest, "items"),
        (IngestRequest, ""),
        (GetSignalRequest, ""),
    ],
)
def test_items_are_what_a_batch_holds(request_type: Any, field: str) -> None:
    """
    A request's price is the length of its list of signals, events or items.
    """
    assert items_field(request_type) == field


def test_every_method_is_an_endpoint() -> None:
    """
    A service's endpoints are its methods, with scope and pool from the contract and the price of their batch.
    """
    by_path = {endpoint.path: endpoint for endpoint in endpoints(SIGNALS, Scripted())}
    assert list(by_path) == [f"/omen.v1.SignalService/{method.name}" for method in SIGNALS.methods]
    emit = by_path["/omen.v1.SignalService/EmitSignals"]
    stream = by_path["/omen.v1.SignalService/StreamSignals"]
    assert (emit.domain, emit.scope, emit.call_class, emit.streams_replies) == ("omen.v1", "ingest", "ingest", False)
    assert (stream.scope, stream.call_class, stream.streams_replies) == ("read", "subscribe", True)
    assert [emit.cost(EmitSignalsRequest(signals=[EmitSignalItem()] * each)) for each in (0, 1, 7)] == [1, 1, 7]
    assert stream.cost(StreamSignalsRequest()) == 1


def test_probes_need_no_scope() -> None:
    """
    Health needs no key, and takes a place only where it stays open.
    """
    found = {endpoint.path.rpartition("/")[2]: endpoint for endpoint in probes(HEALTH, Health([]))}
    assert {endpoint.scope for endpoint in found.values()} == {""}
    assert {name: endpoint.call_class for name, endpoint in found.items()} == {
        "Check": "",
        "Watch": "probe",
        "List": "",
    }


async def test_seconds_are_of_calls_that_end() -> None:
    """
    Every call is counted under its code; only those that are not streams are timed, as a stream's length says nothing.
    """

    def sample(series: str, method: str) -> float:
        labels = {"service": "omen.v1.SignalService", "method": method}
        labels |= {"code": "OK"} if series == "omen_rpc_calls_total" else {}
        return REGISTRY.get_sample_value(series, labels) or 0.0

    names = [(series, method) for series in ("omen_rpc_calls_total", "omen_rpc_call_seconds_count")
             for method in ("GetSignal", "StreamSignals")]  # fmt: skip
    before = [sample(*each) for each in names]
    async with hosted(Scripted()) as server, stub_of(server) as stub:
        await stub.GetSignal(GetSignalRequest(), timeout=5)
        await drained_of(stub.StreamSignals(StreamSignalsRequest(), timeout=5))
    assert [sample(*each) - start for each, start in zip(names, before, strict=True)] == [1, 1, 1, 0]
