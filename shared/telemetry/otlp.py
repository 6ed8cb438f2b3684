"""Traces by OpenTelemetry's SDK, sent by OTLP over HTTP. Imported by `traces` where traces are on.

The SDK reads OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, …) from the
environment. Spans hold names, counts and codes; never an exception's message, a prompt or an answer.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.errors import ServiceError
from shared.telemetry.traces import Attributes, Kind, Span

KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
W3C = TraceContextTextMapPropagator()
MOST_STATE = 512
"""Characters of a `tracestate` that are passed on, as many as W3C asks for: every record keeps it."""
MOST_TEXT = 1024
"""Characters of a text that a span holds: callers choose paths and queries, and 2,048 spans may wait."""
CLOSE_S = 2.0
"""How long a stopping process tries to send its last spans."""


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def tell(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def event(self, name: str, at_ns: int) -> None:
        self._span.add_event(name, timestamp=at_ns)

    def fail(self, why: str) -> None:
        self._span.set_attribute("error.type", why)
        self._span.set_status(StatusCode.ERROR)


class Otlp:
    """The traces of one process. FastAPI finds the provider by itself and makes the spans of requests."""

    def __init__(self, url: str, service: str) -> None:
        resource = Resource.create({"service.name": service, "service.namespace": "sightline"})
        limits = SpanLimits(max_span_attribute_length=MOST_TEXT)
        self._provider = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
        trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("sightline")

    @contextmanager
    def span(
        self, name: str, kind: Kind, attributes: Attributes, carrier: str | None, began_ns: int | None
    ) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name,
            context=None if carrier is None else _context(carrier),
            kind=KINDS[kind],
            attributes=attributes,
            start_time=began_ns,
            # Either would send an exception's message, which may repeat what a caller wrote.
            record_exception=False,
            set_status_on_exception=False,
        ) as begun:
            own = _Span(begun)
            try:
                yield own
            except BaseException as error:
                own.fail(error.code if isinstance(error, ServiceError) else type(error).__qualname__)
                raise

    def here(self) -> str:
        found: dict[str, str] = {}
        W3C.inject(found)
        state = found.get("tracestate", "")
        while len(state) > MOST_STATE:
            state = state.rpartition(",")[0]
        return f"{found.get('traceparent', '')} {state}".rstrip()

    def trace_id(self) -> str:
        current = trace.get_current_span().get_span_context()
        return format_trace_id(current.trace_id) if current.is_valid else ""

    def tell(self, attributes: Attributes) -> None:
        trace.get_current_span().set_attributes(attributes)

    def link(self, carrier: str) -> None:
        other = trace.get_current_span(_context(carrier)).get_span_context()
        if other.is_valid:
            trace.get_current_span().add_link(other)

    def close(self) -> None:
        """Waits for `CLOSE_S` at most: the SDK would wait half a minute for a collector that hangs."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def _context(carrier: str) -> context.Context:
    """The context of a carrier; one that cannot be read begins a trace of its own."""
    parent, _, state = carrier.partition(" ")
    return W3C.extract({"traceparent": parent, "tracestate": state}, context.Context())
