"""
Spans of three real servers, as a collector gets them by OTLP.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from omen.v1.signal_service_pb2 import DELIVERY_LEDGER, EmitSignalsRequest, EmitSignalsResponse
from tests.e2e.pair import NOBODY, SOON, ledger_of, omen, ready, riskcast
from tests.e2e.reconciling import ran
from tests.hosting import channel_to, unary

EMIT = "/omen.v1.SignalService/EmitSignals"
INGEST = "riskcast.v1.IngestService/IngestBatch"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ON = "--traces=otlp"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """
    Keeps every span it gets, by the service it is of.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[str, Any]] = []
        self._more = asyncio.Event()

    async def Export(self, request: Any, _context: Any) -> Any:
        """
        Take spans.
        """
        for resource in request.resource_spans:
            (service,) = (
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            self._spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
        self._more.set()
        return pb.ExportTraceServiceResponse()

    async def span(self, service: str, name: str, wanted: Callable[[Any], bool] = lambda _span: True) -> Any:
        """
        Wait for a span.
        """
        async with asyncio.timeout(20):
            while True:
                for its_service, span in self._spans:
                    if (its_service, span.name) == (service, name) and wanted(span):
                        return span
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def collecting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """
    Run a collector that the standard variables name.
    """
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield collector
    await server.stop(0)


async def emit(address: str, *numbers: int, trace_parent: str = "") -> None:
    """
    Emit signals by one call with a trace context.
    """
    request = EmitSignalsRequest(signals=[ready(number) for number in numbers], delivery=DELIVERY_LEDGER)
    metadata = (("traceparent", trace_parent),) if trace_parent else ()
    async with channel_to(address) as channel:
        reply = await unary(channel, EMIT)(request.SerializeToString(), timeout=10, metadata=metadata)
    assert len(EmitSignalsResponse.FromString(reply).results) == len(numbers)


def linked(span: Any) -> Sequence[bytes]:
    """
    Return the ids of the spans that one links to.
    """
    return [link.span_id for link in span.links]


async def test_push_ingest_and_replay_lead_to_the_emit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An emit's trace has its append; the push and the ingest, and for what was missing the replay and its ingest, link to
    the emit that the record names. Two emits that share a push are both linked.
    """
    async with collecting(monkeypatch) as collector, riskcast(tmp_path, ON):
        async with omen(tmp_path, *SOON, ON) as (server, near):
            await emit(server.address, 1, trace_parent=f"00-{TRACE}-{PARENT}-01")
            emitted = await collector.span("omen", EMIT[1:])
            assert (emitted.trace_id.hex(), emitted.parent_span_id.hex()) == (TRACE, PARENT)
            append = await collector.span("omen", "ledger append")
            assert (append.trace_id, append.parent_span_id) == (emitted.trace_id, emitted.span_id)
            (record,) = await ledger_of(near)
            assert record.trace_parent == f"00-{TRACE}-{emitted.span_id.hex()}-01"
            push = await collector.span("omen", "push")
            assert linked(push) == [emitted.span_id]
            called = await collector.span("riskcast", INGEST)
            assert (called.trace_id, called.parent_span_id) == (push.trace_id, push.span_id)
            ingest = await collector.span("riskcast", "ingest")
            assert (ingest.parent_span_id, linked(ingest)) == (called.span_id, linked(push))
        async with omen(tmp_path, NOBODY, *SOON, ON) as (server, _):
            await emit(server.address, 2, 3)
            late = await collector.span("omen", EMIT[1:], lambda span: not span.parent_span_id)
            ended = await ran(tmp_path, "--include-open", "--all", ON)
            assert ended.code == 0, ended.err
            replay = await collector.span("reconciler", "replay")
            assert linked(replay) == [late.span_id]
            called = await collector.span("riskcast", INGEST, lambda span: span.parent_span_id == replay.span_id)
            again = await collector.span("riskcast", "ingest", lambda span: span.parent_span_id == called.span_id)
            assert linked(again) == [late.span_id]
