"""One trace for a job's whole way: its request, the queue, each attempt with its steps, the calls of
webhooks.

Spans are OpenTelemetry's. Without SIGHTLINE_TRACES__URL they are its no-op spans, and its SDK is not
imported. A *carrier* is a place in a trace as it is passed on, in records too: W3C's `traceparent` and,
after a blank, its `tracestate`, if any; "" for none. Spans have names, counts and codes; never an
exception's message, a prompt or an answer.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.errors import ServiceError
from shared.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
W3C = TraceContextTextMapPropagator()
MOST_STATE = 512
"""Characters of a `tracestate` that are passed on, as many as W3C asks for: every record stores it."""
MOST_TEXT = 1024
"""Characters of a text in a span: callers choose paths and queries, and 2,048 spans may wait."""
CLOSE_S = 2.0
"""How long a stopping process tries to send its last spans."""
_provider: "list[TracerProvider]" = []
OFF = nullcontext(INVALID_SPAN)
"""OpenTelemetry's own no-op span would be made current, which costs ten times as much."""


def check_traces(settings: Settings) -> None:
    """Raises SettingsError if traces are on and their packages are not installed."""
    if not settings.traces.url:
        return
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace.export  # noqa: F401
    except ImportError as error:
        message = "SIGHTLINE_TRACES__URL: traces need packages that are not installed"
        fix = ".venv/bin/python -m pip install -c constraints.txt -e '.[traces]'"
        raise SettingsError(f"{message} ({error.name}): {fix}") from None


def open_traces(settings: Settings, service: str) -> None:
    """Begin to send what this process does, under the name of its service. Raises SettingsError.

    The SDK reads OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, …) from the
    environment. FastAPI finds the provider by itself and makes the spans of requests.
    """
    check_traces(settings)
    if not settings.traces.url:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": service, "service.namespace": "sightline"})
    limits = SpanLimits(max_span_attribute_length=MOST_TEXT)
    provider = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces.url)))
    trace.set_tracer_provider(provider)
    _provider[:] = [provider]


def on() -> bool:
    return bool(_provider)


def close_traces() -> None:
    """Send what is left, within `CLOSE_S`: the SDK would wait half a minute for a collector that hangs."""
    while _provider:
        closing = threading.Thread(target=_provider.pop().shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    carrier: str | None = None,
    began_ns: int | None = None,
) -> AbstractContextManager[Span]:
    """A span for a block, a child of this thread's or task's span, or of a carrier's.

    `carrier` "" begins a trace of its own; `began_ns` (Unix ns) is for work that began before the block did.
    """
    return _exported_span(name, attributes, kind, carrier, began_ns) if _provider else OFF


@contextmanager
def _exported_span(
    name: str, attributes: Attributes | None, kind: SpanKind, carrier: str | None, began_ns: int | None
) -> Iterator[Span]:
    with (
        _provider[0]
        .get_tracer("sightline")
        .start_as_current_span(
            name,
            context=None if carrier is None else _context(carrier),
            kind=kind,
            attributes=attributes,
            start_time=began_ns,
            # Either would send an exception's message, which may repeat what a caller wrote.
            record_exception=False,
            set_status_on_exception=False,
        ) as current
    ):
        try:
            yield current
        except BaseException as error:
            fail(current, error.code if isinstance(error, ServiceError) else type(error).__qualname__)
            raise


def fail(current: Span, code: str) -> None:
    """Mark a span as failed, by a code and never by a message, which may repeat what a caller sent."""
    current.set_attribute("error.type", code)
    current.set_status(StatusCode.ERROR)


def here() -> str:
    """The carrier of the span that this thread or task is in; "" without traces."""
    if not _provider:
        return ""
    fields: dict[str, str] = {}
    W3C.inject(fields)
    state = fields.get("tracestate", "")
    while len(state) > MOST_STATE:
        state = state.rpartition(",")[0]
    return f"{fields.get('traceparent', '')} {state}".rstrip()


def trace_id() -> str:
    """The trace id of the span that this thread or task is in; "" without one."""
    if not _provider:
        return ""
    current = trace.get_current_span().get_span_context()
    return format_trace_id(current.trace_id) if current.is_valid else ""


def set_attributes(attributes: Attributes) -> None:
    trace.get_current_span().set_attributes(attributes)


def link(carrier: str) -> None:
    """Link the span that this thread or task is in to another trace that shares its work, if there is one."""
    if not carrier:
        return
    other = trace.get_current_span(_context(carrier)).get_span_context()
    if other.is_valid:
        trace.get_current_span().add_link(other)


def _context(carrier: str) -> context.Context:
    """The context of a carrier; one that cannot be read begins a trace of its own."""
    parent, _, state = carrier.partition(" ")
    return W3C.extract({"traceparent": parent, "tracestate": state}, context.Context())
