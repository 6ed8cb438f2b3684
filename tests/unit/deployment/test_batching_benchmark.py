"""The batching benchmark's own judgement: figures that flatter one server are worse than none."""

import asyncio
import contextlib
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.batching import driver
from benchmarks.batching.driver import Answer, Drive, WrongAnswerError, body_lines, drive
from benchmarks.batching.measurement import EACH, FIRST, NUMBERS
from benchmarks.batching.plan import FULL, OtherMachineError, Part, Results
from benchmarks.batching.questions import SUBJECTS, Wire

MACHINE = {"cpu": "a", "cores": 2, "load": [0.1]}
PART = Part("serve", "mid", "float32", 1)
WIRE = Wire("m", counts_on_request=True)


class Server:
    """Answers each chat with its own last words, one a piece; those that say "wait" only once released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.headers: dict[str, str] = {}
        self.status = 200
        self.asked: list[str] = []
        self.options: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with contextlib.suppress(ConnectionError):  # the caller may have hung up
                    outer.answer(self, body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        words = body["messages"][-1]["content"]
        self.asked.append(words)
        self.options.append(body.get("stream_options"))
        if words.startswith("wait"):
            self.released.wait()
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        pieces = words.split()
        for piece in pieces:
            self._send(handler, {"choices": [{"delta": {"content": f"{piece} "}}]})
        self._send(handler, {"choices": [], "usage": {"completion_tokens": len(pieces)}})
        handler.wfile.write(b"0\r\n\r\n")

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _send(self, handler: BaseHTTPRequestHandler, event: dict[str, Any]) -> None:
        line = f"data: {json.dumps(event)}\n\n".encode()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


def said(*texts: str) -> list[bytes]:
    return [WIRE.post([{"role": "user", "content": text}], 8) for text in texts]


def test_every_question_is_asked_once_and_its_answer_is_read_to_the_end(server: Server) -> None:
    seen = drive(server.port, said("one two", "three", "four five six"), clients=2, seconds=60)
    assert sorted(server.asked) == ["four five six", "one two", "three"]
    assert sorted(one.text for one in seen.answers) == ["four five six ", "one two ", "three "]
    assert sorted(one.tokens for one in seen.answers) == [1, 2, 3]
    assert all(one.ended for one in seen.answers)
    assert server.options == [{"include_usage": True}] * 3


def test_when_the_time_is_over_the_next_whole_answer_ends_the_measurement(server: Server) -> None:
    seen = drive(server.port, said("wait here", "one two", "three"), clients=2, seconds=0)
    assert sorted((one.text, one.ended is None) for one in seen.answers) == [("", True), ("one two ", False)]


def test_an_answer_from_the_cache_is_no_measurement(server: Server) -> None:
    server.headers = {"x-cache": "HIT"}
    with pytest.raises(WrongAnswerError, match="cache"):
        drive(server.port, said("one"), clients=1, seconds=60)
    assert drive(server.port, said("one"), clients=1, seconds=60, cached=1).answers[0].cached


def test_a_refusal_is_no_measurement(server: Server) -> None:
    server.status = 503
    with pytest.raises(WrongAnswerError, match="503"):
        drive(server.port, said("one"), clients=1, seconds=60)


def test_a_server_that_is_lost_in_mid_answer_is_no_measurement() -> None:
    with pytest.raises(WrongAnswerError):
        Answer(0.0).add({"error": "lost"}, 1.0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_stream_is_the_same_however_it_is_cut(size: int) -> None:
    sent = b"8\r\ndata: a\n\r\n3\r\n\nda\r\n7\r\nta: bc\n\r\n0\r\n\r\n"
    reader = asyncio.StreamReader()
    for at in range(0, len(sent), size):
        asyncio.get_running_loop().call_soon(reader.feed_data, sent[at : at + size])
    assert [line async for line in body_lines(reader, None)] == [b"data: a", b"", b"data: bc"]


def answer_to(wait_s: float | None, words: int = 0, tokens: int | None = None) -> Answer:
    """Asked at 0; complete at 9 where its tokens are known."""
    arrivals = [] if wait_s is None else [wait_s + n / 10 for n in range(words)]
    return Answer(0.0, arrivals, "word " * words, tokens or 0, None if tokens is None else 9.0)


def test_who_still_waited_at_the_end_counts_as_having_waited_at_least_that_long() -> None:
    waits = driver.first_text(
        [answer_to(1.0, 1, 8), answer_to(2.0, 1, 8), answer_to(None), answer_to(None), answer_to(None)], 10.0
    )
    assert waits["ttft_p50_ms"] == 10_000
    assert waits["ttft_p50_ms_at_least"]


def test_an_answer_cut_off_counts_by_its_part() -> None:
    assert driver.counted([answer_to(1.0, 4, 128), answer_to(1.0, 32)]) == 160


def test_a_point_divides_by_the_wall_and_by_the_processor_time() -> None:
    seen = Drive(2, [answer_to(1.0, 4, 128), answer_to(1.0, 4, 128)], 8.0, 0.4)
    point = driver.point(seen, cpu_s=4.0, rss_mb=10.4)
    assert (point["tokens_per_s"], point["tokens_per_cpu_s"]) == (32, 64)
    assert (point["gap_p50_ms"], point["driver_share"], point["rss_mb"]) == (pytest.approx(100), 0.05, 10)
    assert math.isnan(answer_to(None).wait_s)


@pytest.mark.parametrize("name", SUBJECTS)
def test_no_question_of_a_part_is_asked_twice_and_every_server_gets_the_same(name: str) -> None:
    subject = SUBJECTS[name]
    numbers = [*range(FIRST), *range(NUMBERS["pictures"], NUMBERS["pictures"] + 2 * FULL.at_once)]
    for clients in FULL.clients:
        first = NUMBERS["points"] * clients
        numbers += range(first, first + subject.requests(clients))
    numbers += range(NUMBERS["chat"], NUMBERS["chat"] + FULL.turns * FULL.chats)
    for name in ("pages", "repeats"):
        numbers += range(NUMBERS[name], NUMBERS[name] + 2 * EACH * FULL.at_once)
    numbers += range(NUMBERS["overhead"], NUMBERS["overhead"] + 10_000)
    assert len(set(numbers)) == len(numbers)
    assert len({subject.ask(number) for number in range(20)}) == 20
    assert subject.ask(7) == subject.ask(7)


def measured(tokens_per_s: float, **more: Any) -> dict[str, Any]:
    point = {"clients": 16, "tokens_per_s": tokens_per_s, "tokens_per_cpu_s": 1.0}
    waits = {"ttft_p50_ms": 15_000.0, "ttft_p50_ms_at_least": True, "ttft_p99_ms": 15_000.0}
    gaps = {"gap_p50_ms": 2.0, "gap_p99_ms": None, "rss_mb": 1000}
    row = {"date": "2026-01-02T03:04:05", "answers": ["a", "b"], "chat_ttft_ms": [1.0]}
    pictures = {"different": {"wall_s": 2.0}, "same": {"wall_s": 1.0}}
    return row | {"pictures": pictures, "points": {"16": point | waits | gaps}} | more


def test_what_was_measured_anew_takes_the_old_figures_place_and_no_other(tmp_path: Path) -> None:
    results = Results(tmp_path, MACHINE)
    other = Part("continuous", "mid", "float32", 1)
    results.add(PART, measured(30.0))
    results.add(other, measured(100.0))
    results.save(date="one")
    again = Results(tmp_path, MACHINE)
    again.add(PART, measured(31.0, points={"4": {"clients": 4}}, date="2026-02-02"))
    again.save(date="two")
    found = json.loads((tmp_path / "batching.json").read_text())
    months = {
        row["system"]: {name: point["date"][:7] for name, point in row["points"].items()}
        for row in found["parts"]
    }
    assert months == {"serve": {"4": "2026-02", "16": "2026-01"}, "continuous": {"16": "2026-01"}}
    assert found["date"] == "two"


def test_figures_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    results = Results(tmp_path, MACHINE)
    results.add(PART, measured(30.0))
    results.save()
    with pytest.raises(OtherMachineError):
        Results(tmp_path, MACHINE | {"cpu": "b"})


def test_a_service_that_costs_more_than_a_hundredth_of_vllm_is_said_to_miss_its_target(
    tmp_path: Path,
) -> None:
    results = Results(tmp_path, MACHINE)
    waits = {"ttft_p50_ms": [100.0, 120.0, 110.0], "ttft_p99_ms": [200.0, 200.0, 200.0]}
    own = {"tokens_per_s": [100.0, 200.0, 100.0]} | waits
    ours = {"tokens_per_s": [98.0, 198.0, 98.0]} | waits | {"ttft_p50_ms": [129.0, 149.0, 150.0]}
    case = {"model": "mid", "dtype": "float32", "device": "cpu", "asked": "questions", "clients": 16}
    results.add_overhead(case | {"vllm": own, "vllm_engine": ours})
    assert [(bound.value, bound.met) for bound in results.bounds()] == [(0.98, False), (29.0, True)]
