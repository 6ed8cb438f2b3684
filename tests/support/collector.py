"""A collector of traces on the loopback: keeps the spans that it is sent by OTLP over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.http_server import Server, serving


@dataclass(frozen=True)
class Sent:
    """A span as it arrived; times in Unix ns, ids in hex, `links` are the traces that it names."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    events: tuple[tuple[str, int], ...]
    links: tuple[str, ...]
    failed: bool


@dataclass
class Collector:
    """`url` is where to send to; `raw` is everything that arrived, for what must not be in it."""

    url: str
    spans: list[Sent] = field(default_factory=list)
    raw: bytes = b""

    def of(self, trace: str) -> list[Sent]:
        """A trace's spans, in the order in which they began."""
        return sorted((s for s in self.spans if s.trace == trace), key=lambda s: (s.began_ns, -s.ended_ns))


@contextmanager
def collector() -> Iterator[Collector]:
    class Collecting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.raw += body
            kept.spans += _spans(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    server = Server(Collecting)
    kept = Collector(f"{server.url}/v1/traces")
    with serving(server):
        yield kept


def _spans(body: bytes) -> Iterator[Sent]:
    message: Any = ExportTraceServiceRequest.FromString(body)
    for resource in message.resource_spans:
        service = _told(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            yield from (_sent(service, span) for span in scope.spans)


def _sent(service: str, span: Any) -> Sent:
    return Sent(
        service=service,
        name=span.name,
        kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_told(span.attributes),
        events=tuple((event.name, event.time_unix_nano) for event in span.events),
        links=tuple(link.trace_id.hex() for link in span.links),
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )


def _told(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(one) for one in found.values] if kind == "array_value" else found
