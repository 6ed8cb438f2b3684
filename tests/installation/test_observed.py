"""What operators see of a request: one id in every log, one trace over every process; what `doctor` says."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from docs.generate.waterfall import draw
from tests.support.clients import Api, until
from tests.support.http_server import Server, serving
from tests.support.metrics import total
from tests.support.pictures import answering, origin, picture
from tests.support.receiver import Call, receiver
from tests.support.service import COURIER, ROOT, Service, running_service


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


ECHO = "test/echo"
FIRST_PORT, PORTS = 9600, 4
"""Where no other test's workers are."""
MODELS = f"""
[[models]]
id = "{ECHO}"
engine = "echo"
rows = 4
options = {{ step_s = 0.02 }}
"""
PROCESSES = ("api", COURIER, ECHO)
WATERFALL = ROOT / "docs/images/trace.svg"
SECRET, PROMPT, PASSWORD = "whsec_c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm", "zebra crossing", "passw0rd-in-a-url"
TRACE, FIRST, SECOND, CALLER = "a" * 32, "b" * 32, "c" * 32, "d" * 16
API_SPAN, COURIER_SPAN, WORKER_SPAN = "sightline-api", "sightline-courier", "sightline-worker"
EXPECTED = {
    (API_SPAN, "POST /v1/jobs", "server"): 1,
    (COURIER_SPAN, "wait in line", "internal"): 1,
    (COURIER_SPAN, "attempt", "consumer"): 1,
    (COURIER_SPAN, "fetch", "client"): 1,
    (WORKER_SPAN, "wait in line", "internal"): 1,
    (WORKER_SPAN, "attempt", "consumer"): 1,
    (WORKER_SPAN, "fetch", "internal"): 1,
    (WORKER_SPAN, "decode", "internal"): 1,
    (WORKER_SPAN, "prepare", "internal"): 1,
    (WORKER_SPAN, f"chat {ECHO}", "internal"): 1,
    (WORKER_SPAN, "settle", "internal"): 1,
    (COURIER_SPAN, "webhook", "client"): 1,
}
LABEL = re.compile(r'<text x="\d+" y="\d+">(.*?)</text>')


@dataclass
class Observed:
    """A service that tells all it can, and one job that was asked of it."""

    service: Service
    collector: Collector
    job: str
    call: Call

    def lines(self, process: str) -> list[dict[str, Any]]:
        """A process's log, each line of which is one JSON object; without the one that is just written."""
        whole = self.service.log(process).rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def line(self, process: str, message: str, **fields: Any) -> dict[str, Any]:
        """The first line with this message and these fields, as soon as it is there."""

        def found() -> dict[str, Any]:
            wanted = {"message": message, **fields}
            return next((line for line in self.lines(process) if wanted.items() <= line.items()), {})

        return until(found)


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    with ExitStack() as stack:
        traces = stack.enter_context(collector())
        env = {
            "SIGHTLINE_LOG_LEVEL": "info",
            "SIGHTLINE_LOG_FORMAT": "json",
            "SIGHTLINE_TRACES__URL": traces.url,
            "SIGHTLINE_FETCH__ALLOW": "127.0.0.1",
            "SIGHTLINE_FETCH__LIMIT_S": "60",
            "SIGHTLINE_PICTURES__DECODE_LIMIT_S": "60",
            "SIGHTLINE_QUEUE__RESCUE_S": "0.1",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "SIGHTLINE_METRICS__LISTEN": f"127.0.0.1:{FIRST_PORT}",
        }
        service = stack.enter_context(running_service(MODELS, env))
        service.ready(*PROCESSES)
        there, data = stack.enter_context(receiver()), picture(size=(64, 48))
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(data)
        served = stack.enter_context(origin(answering(head, data)))
        with Api(service.url()) as api:
            asked = {"prompt": PROMPT, "image": f"{served.url}?signature={PASSWORD}"}
            hook = {"url": f"{there.url}&token={PASSWORD}", "secret": SECRET}
            body = {"model": ECHO, "input": asked, "webhook": hook}
            headers = parent(TRACE) | {"x-request-id": "req-of-a-caller"}
            reply = api.post("/v1/jobs", json=body, headers=headers)
            assert reply.headers["x-request-id"] == "req-of-a-caller"
            job = str(reply.json()["id"])
            assert api.ended(job)["status"] == "succeeded"
        until(lambda: there.calls)
        yield Observed(service, traces, job, there.calls[0])


def parent(trace: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-{CALLER}-01", "tracestate": "shop=7"}


def whole(seen: Observed) -> list[Sent]:
    """The job's trace once all of it has arrived."""
    return until(lambda: len(spans := seen.collector.of(TRACE)) >= len(EXPECTED) and spans)


def test_a_request_s_id_is_in_the_log_of_every_process_and_on_the_webhook(observed: Observed) -> None:
    asked = {"request_id": "req-of-a-caller"}
    request = observed.line("api", "request", **asked)
    assert (request["method"], request["route"], request["status"]) == ("POST", "/v1/jobs", 202)
    assert request["ms"] > 0
    fetched = observed.line(COURIER, "attempt ended", **asked)
    assert (fetched["work"], fetched["outcome"]) == (observed.job, "admitted")
    computed = observed.line(ECHO, "attempt ended", **asked)
    wanted = {
        "model": ECHO,
        "attempt": 1,
        "priority": "normal",
        "outcome": "succeeded",
        "completion_tokens": 3,
    }
    assert computed.items() >= wanted.items()
    assert computed["run_s"] > 0 <= computed["wait_s"]
    ended = observed.line(ECHO, "job ended", job=observed.job, **asked)
    assert ended.items() >= (wanted | {"run": computed["work"], "cache": "MISS"}).items()
    called = observed.line(COURIER, "webhook called", **asked)
    assert (called["subject"], called["status"], called["host"]) == (observed.job, 204, "127.0.0.1")
    assert observed.call.headers["x-request-id"] == "req-of-a-caller"
    assert {line["trace_id"] for line in (request, fetched, computed, called)} == {TRACE}


def test_every_line_of_every_process_is_one_json_object_the_server_s_own_too(observed: Observed) -> None:
    loggers = {process: {line["logger"] for line in observed.lines(process)} for process in PROCESSES}
    assert "uvicorn.error" in loggers["api"]
    assert any(name.startswith("celery") for name in loggers[ECHO])


def test_a_request_without_an_id_is_given_one_that_is_logged(observed: Observed) -> None:
    with Api(observed.service.url()) as api:
        reply = api.get("/v1/jobs/job_0")
    line = observed.line("api", "request", request_id=reply.headers["x-request-id"])
    assert (line["route"], line["status"]) == ("/v1/jobs/{id}", 404)


def test_one_trace_leads_from_the_caller_through_every_process_to_the_webhook(observed: Observed) -> None:
    spans = whole(observed)
    counts: dict[tuple[str, str, str], int] = {}
    for span in spans:
        counts[span.service, span.name, span.kind] = counts.get((span.service, span.name, span.kind), 0) + 1
    assert counts == EXPECTED
    by_id = {span.id: span for span in spans}
    above = {(s.service, s.name): by_id[s.parent].name for s in spans if s.parent in by_id}
    (request,) = (span for span in spans if span.kind == "server")
    assert request.parent == CALLER
    assert {above[WORKER_SPAN, step] for step in ("fetch", "decode", "prepare", "settle")} == {"attempt"}
    assert above[COURIER_SPAN, "fetch"] == "attempt"
    assert above[COURIER_SPAN, "webhook"] == above[WORKER_SPAN, "attempt"] == request.name
    assert {span.state for span in spans} == {"shop=7"}
    version, trace, last, _ = observed.call.headers["traceparent"].split("-")
    assert (version, trace, by_id[last].name) == ("00", TRACE, "webhook")
    assert not any(span.failed for span in spans)


def test_each_process_tells_prometheus_what_it_did(observed: Observed) -> None:
    def served(port: int) -> str:
        with suppress(httpx.TransportError):
            return observed.service.caller.get(f"http://127.0.0.1:{port}/metrics").text
        return ""

    pages = [page for at in range(PORTS) if "sightline_" in (page := served(FIRST_PORT + at))]
    pages.append(observed.service.caller.get(f"{observed.service.url()}/metrics").text)
    for name, labels in (
        ("sightline_attempts_total", {"model": ECHO, "outcome": "succeeded"}),
        ("sightline_intakes_total", {"outcome": "admitted"}),
        ("sightline_jobs_admitted_total", {"model": ECHO}),
    ):
        assert sorted(total(page, name, **labels) >= 1 for page in pages) == [False, False, True], name


def test_a_generation_is_told_in_opentelemetry_s_words(observed: Observed) -> None:
    (span,) = (span for span in whole(observed) if span.name == f"chat {ECHO}")
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "sightline",
        "gen_ai.request.model": ECHO,
        "gen_ai.response.model": ECHO,
        "gen_ai.output.type": "text",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "sightline.pictures": 1,
    }
    ((name, at_ns),) = span.events
    assert name == "gen_ai.first_token"
    assert span.began_ns < at_ns < span.ended_ns


def test_a_job_that_shares_a_computation_is_linked_with_its_trace(observed: Observed) -> None:
    body = {"model": ECHO, "input": {"prompt": "word " * 100}}
    with Api(observed.service.url()) as api:
        first, second = (
            api.post("/v1/jobs", json=body, headers=parent(trace)).json() for trace in (FIRST, SECOND)
        )
        # Linked in either case: on a busy machine the first may have ended before the second comes.
        assert second["cache"] in ("COALESCED", "HIT")
        api.ended(first["id"])
    (request,) = until(lambda: observed.collector.of(SECOND))
    assert request.links == (FIRST,)
    assert request.attributes["sightline.job.id"] == second["id"]


def test_no_log_and_no_trace_holds_a_prompt_an_answer_or_a_secret(observed: Observed) -> None:
    whole(observed)
    observed.line(ECHO, "job ended", job=observed.job)
    told = {process: observed.service.log(process) for process in PROCESSES}
    told["the traces"] = observed.collector.raw.decode(errors="replace")
    words = (SECRET, PASSWORD, *PROMPT.split(), "[64x48]")
    assert [(where, word) for where, text in told.items() for word in words if word in text] == []


def test_the_picture_of_a_trace_in_the_pages_shows_what_one_is_today(observed: Observed) -> None:
    spans = whole(observed)
    if not WATERFALL.exists():
        WATERFALL.write_text(draw(spans), encoding="utf-8")
    shown = LABEL.findall(WATERFALL.read_text(encoding="utf-8"))
    names = sorted(unescape(label) for label in shown if not label.startswith("sightline-"))
    assert names == sorted(span.name for span in spans)


def test_doctor_finds_nothing_wrong_with_a_service_that_runs(observed: Observed) -> None:
    service = observed.service
    env = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    env |= {
        "SIGHTLINE_REDIS__URL": service.redis.url(),
        "SIGHTLINE_MODELS_FILE": str(service.folder / "models.toml"),
        "SIGHTLINE_BLOBS__URL": str(service.folder / "blobs"),
    }
    port = service.url().rpartition(":")[2]
    argv = [
        sys.executable,
        "-m",
        "sightline",
        "doctor",
        "--json",
        "--url",
        service.url(),
        "--data",
        str(service.folder),
    ]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (0, True), done.stdout
    said = {check["about"]: (check["state"], check["said"]) for check in told["checks"]}
    assert said["port"] == ("ok", f"Sightline answers on 127.0.0.1 port {port}")
    assert said["service"][1].startswith(f"{ECHO} answered a question in ")
    assert service.redis.url() not in done.stdout
