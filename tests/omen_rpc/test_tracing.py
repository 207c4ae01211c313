import subprocess
import sys
from collections.abc import Iterator
from threading import Event
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from omen.v1.signal_service_pb2 import GetSignalRequest, GetSignalResponse
from omen_rpc import otel, tracing
from omen_rpc.call import CURRENT
from omen_rpc.channel import Connection
from omen_rpc.errors import Reason, fault
from omen_rpc.otel import LINKS_MAX, Spans
from omen_rpc.program import observe
from omen_rpc.settings import SettingsRefused
from omen_server.settings import PROGRAM, OmenSettings
from tests.hosting import Scripted, hosted, refusal, stub_of
from tests.omen_rpc.conftest import Logged
from tests.processes import tree_environment

SECRET = "sk-live-51Hx"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """
    Make spans during a test, into memory.
    """
    kept, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(tracing, "ACTIVE", Spans(provider))
    yield kept
    provider.shutdown()


def context_of(span: ReadableSpan) -> str:
    """
    Return a span's trace context.
    """
    assert span.context is not None
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


def test_off_is_nothing() -> None:
    """
    Where nobody wants spans they are one shared nothing, no context is sent along, and no module of OpenTelemetry is
    imported by any server.
    """
    assert tracing.span("any", links=(1 / 0 for _ in "x")) is tracing.NOTHING  # type: ignore[misc]  # Never looked at.
    assert tracing.here("kept") == "kept"
    programs = "omen_server.__main__, riskcast_server.__main__, reconciler.__main__"
    check = f"import sys, {programs}; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", check], env=tree_environment(), check=True)


def test_spans_need_their_extra(monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    """
    Without OpenTelemetry, asking for spans is refused in words, and nothing is begun.
    """
    monkeypatch.setitem(sys.modules, "omen_rpc.otel", None)
    with pytest.raises(SettingsRefused, match=r"--traces otlp needs OpenTelemetry\. Install omen-dualpath\[otel\]\."):
        observe(PROGRAM, OmenSettings(traces="otlp", log_format="json"))
    assert (tracing.ACTIVE, logged.text) == (None, "")


def test_a_collector_that_is_away_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When spans cannot be sent, a server that ends waits for them a moment and no longer.
    """
    entered, held = Event(), Event()

    def stuck() -> None:
        entered.set()
        held.wait()

    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(provider, "shutdown", stuck)
    monkeypatch.setattr(otel, "CLOSE_TIMEOUT_S", 0.01)
    Spans(provider).close()
    assert entered.wait(5)
    assert not held.is_set()  # It is still at it, and nobody waits.
    held.set()


def test_spans_nest_and_link(exporter: InMemorySpanExporter) -> None:
    """
    A span is inside the one around it, and links each context once; what is none, and too many of them, are left out.
    """
    others = [f"00-{TRACE}-{number:016x}-01" for number in range(1, LINKS_MAX + 10)]
    with tracing.span("outer", "server", parent=CONTEXT):
        around = tracing.here()
        with tracing.span(
            "inner", "client", links=[CONTEXT, CONTEXT, "", "no context", "00-" + "0" * 32], attributes={"n": 1}
        ):
            assert tracing.here() != around
    with tracing.span("many", parent=SECRET, links=others):
        pass
    inner, outer, many = exporter.get_finished_spans()
    assert (context_of(outer), inner.parent) == (around, outer.context)
    assert outer.parent is not None
    assert f"{outer.parent.trace_id:032x} {outer.parent.span_id:016x}" == f"{TRACE} {PARENT}"
    assert (outer.kind, inner.kind, dict(inner.attributes or {})) == (SpanKind.SERVER, SpanKind.CLIENT, {"n": 1})
    assert [f"{each.context.span_id:016x}" for each in inner.links] == [PARENT]
    assert (many.parent, len(many.links)) == (None, LINKS_MAX)


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError(SECRET), "ValueError"), (fault(Reason.ERROR_REASON_STARTING, SECRET), "STARTING")],
)
def test_errors_are_told_without_their_text(error: Exception, told: str, exporter: InMemorySpanExporter) -> None:
    """
    An error passes, and the span says its type or reason and nothing of its text.
    """
    with pytest.raises(type(error)), tracing.span("fails"):
        raise error
    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, dict(span.attributes or {})) == (StatusCode.ERROR, {"error.type": told})
    assert SECRET not in span.to_json()


async def test_a_call_is_a_span_in_its_callers_trace(exporter: InMemorySpanExporter) -> None:
    """
    A call is a span under the caller's context, which the method has from then on and sends along when it calls others;
    one that fails says its reason. Probes and malformed contexts make no trouble.
    """
    seen: list[str] = []

    async def get(_request: Any, _context: Any) -> GetSignalResponse:
        seen.append(CURRENT.get().trace_parent)
        async with Connection("unix:/nowhere") as connection:
            seen.append(dict(connection._named(()))["traceparent"])
        if len(seen) > 2:
            raise fault(Reason.ERROR_REASON_NOT_IMPLEMENTED, metadata={"method": "x"})
        return GetSignalResponse()

    async with hosted(Scripted(get=get)) as server, stub_of(server) as stub:
        await stub.GetSignal(GetSignalRequest(), metadata=(("traceparent", CONTEXT),))
        error = await refusal(stub.GetSignal(GetSignalRequest(), metadata=(("traceparent", SECRET),)))
    assert error.code is grpc.StatusCode.UNIMPLEMENTED
    good, bad = exporter.get_finished_spans()
    assert {good.name, bad.name} == {"omen.v1.SignalService/GetSignal"}
    assert seen == [context_of(good)] * 2 + [context_of(bad)] * 2
    assert good.parent is not None
    assert f"{good.parent.span_id:016x}" == PARENT
    assert (bad.parent, (bad.attributes or {})["error.type"]) == (None, "NOT_IMPLEMENTED")
