"""
Spans made by the OpenTelemetry SDK. Nothing imports this module before somebody asks for them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from omen_rpc.errors import CallError
from omen_rpc.metadata import TRACE_PARENT_SHAPE
from omen_rpc.server_info import own_version
from omen_rpc.tracing import Kind

LINKS_MAX = 128
CLOSE_TIMEOUT_S = 2.0
KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
}


class Spans:
    """
    Makes spans with a provider's tracer.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("omen", own_version())

    def close(self) -> None:
        """
        Send what waits to be sent, as far as that takes no time: a collector that is away holds up no server's end.
        """
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_TIMEOUT_S)

    def here(self) -> str:
        """
        Return the trace context of the current span; nothing when there is none.
        """
        at = trace.get_current_span().get_span_context()
        return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags & 1:02x}" if at.is_valid else ""

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str,
        links: Iterable[str],
        attributes: dict[str, str | int] | None,
    ) -> Iterator[None]:
        """
        Make a span of the block.
        """
        distinct = [each for each in dict.fromkeys(links) if each][:LINKS_MAX]
        with self._tracer.start_as_current_span(
            name,
            around(parent),
            KINDS[kind],
            attributes,
            links=[Link(context) for each in distinct if (context := context_of(each)) is not None],
            record_exception=False,  # Its text may hold whatever a caller sent.
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                reason = error.reason or error.code.name if isinstance(error, CallError) else type(error).__qualname__
                span.set_attribute("error.type", reason)
                span.set_status(StatusCode.ERROR)
                raise


def exporting(service: str) -> Spans:
    """
    Return spans that go out by OTLP. Everything about that is said by the OTEL_… variables, the name too if they do.
    """
    resource = Resource({"service.name": service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)


def around(parent: str) -> Context | None:
    """
    Return what a span with this remote parent is made in; None is where the caller is.
    """
    context = context_of(parent)
    return None if context is None else trace.set_span_in_context(NonRecordingSpan(context))


def context_of(trace_parent: str) -> SpanContext | None:
    """
    Return a trace context; None when it is not well formed.
    """
    if not TRACE_PARENT_SHAPE.fullmatch(trace_parent):
        return None
    _, trace_id, span_id, flags = trace_parent.split("-")
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return context if context.is_valid else None
