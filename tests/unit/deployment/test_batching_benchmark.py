"""The batching benchmark's own judgement: figures that flatter one server are worse than none."""

import asyncio
import contextlib
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks.batching import driver
from benchmarks.batching.__main__ import bounds
from benchmarks.batching.driver import Answer, Drive, WrongAnswerError, body_lines, drive
from benchmarks.batching.questions import message
from benchmarks.frame.load import post


class Server:
    """Answers each chat with its own last words, one a piece; those that say "wait" only once released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.headers: dict[str, str] = {}
        self.status = 200
        self.asked: list[str] = []
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
    chats = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    return [post("/v1/chat/completions", json.dumps(chat).encode()) for chat in chats]


def test_each_answer_is_read_to_its_end(server: Server) -> None:
    seen = drive(server.port, said("one two", "three", "four five six"), clients=2, seconds=60)
    assert sorted(server.asked) == ["four five six", "one two", "three"]
    assert sorted(one.text for one in seen.answers) == ["four five six ", "one two ", "three "]
    assert sorted(one.tokens for one in seen.answers) == [1, 2, 3]
    assert all(one.ended for one in seen.answers)


def test_time_ends_with_the_next_whole_answer(server: Server) -> None:
    seen = drive(server.port, said("wait here", "one two", "three"), clients=2, seconds=0)
    assert sorted((one.text, one.ended is None) for one in seen.answers) == [("", True), ("one two ", False)]


def test_an_answer_from_the_cache_is_no_measurement(server: Server) -> None:
    server.headers = {"x-cache": "HIT"}
    with pytest.raises(WrongAnswerError, match="cache"):
        drive(server.port, said("one"), clients=1, seconds=60)


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
    assert [line async for line in body_lines(reader)] == [b"data: a", b"", b"data: bc"]


def answer_to(wait_s: float | None, words: int = 0, tokens: int | None = None) -> Answer:
    """Asked at 0; complete at 9 where its tokens are known."""
    arrivals = [] if wait_s is None else [wait_s + n / 10 for n in range(words)]
    return Answer(0.0, arrivals, "word " * words, tokens or 0, None if tokens is None else 9.0)


def test_a_caller_still_waiting_counts_with_its_wait() -> None:
    waits = driver.first_text(
        [answer_to(1.0, 1, 8), answer_to(2.0, 1, 8), answer_to(None), answer_to(None), answer_to(None)], 10.0
    )
    assert waits["ttft_p50_ms"] == 10_000
    assert waits["ttft_p50_ms_at_least"]


def test_an_answer_cut_off_counts_by_its_part() -> None:
    assert driver.counted([answer_to(1.0, 4, 128), answer_to(1.0, 32)]) == 160


def test_a_point_divides_by_the_wall_and_by_the_processor_time() -> None:
    drive = Drive(2, [answer_to(1.0, 4, 128), answer_to(1.0, 4, 128)], 8.0)
    point = driver.point(drive, cpu_s=4.0, rss_mb=10.4)
    assert (point["tokens_per_s"], point["tokens_per_cpu_s"]) == (32, 64)
    assert (point["gap_p50_ms"], point["rss_mb"]) == (pytest.approx(100), 10)
    assert math.isnan(answer_to(None).wait_s)


def test_no_question_is_asked_twice() -> None:
    assert len({message(number, "mid", 8) for number in range(20)}) == 20
    assert message(7, "mid", 8) == message(7, "mid", 8)


def test_a_service_that_costs_a_hundredth_of_vllm_misses_its_target() -> None:
    waits = {"ttft_p50_ms": [100.0, 120.0, 110.0]}
    own = {"tokens_per_s": [100.0, 200.0, 100.0]} | waits
    ours = {"tokens_per_s": [98.0, 198.0, 98.0], "ttft_p50_ms": [129.0, 149.0, 150.0]}
    figures = {"parts": [], "overheads": [{"clients": 16, "vllm": own, "vllm_engine": ours}]}
    assert [(bound.value, bound.met) for bound in bounds(figures)] == [(0, True), (0.98, False), (29.0, True)]
