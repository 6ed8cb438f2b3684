"""`sightline ask` as people and scripts use it: one question, a pipe, Ctrl-C."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from sightline.cli import main
from sightline.exits import Exit
from tests.support.patience import PATIENCE_S
from tests.support.pictures import picture
from tests.support.service import ROOT

LIMIT_S = PATIENCE_S
PNG = picture("PNG")


class Service(ThreadingHTTPServer):
    """Answers with the question's text, word by word; after "slow" it waits until the caller has left."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.left = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def questions(self) -> list[tuple[str, int]]:
        """The text and number of pictures of each request's last message."""
        contents = [body["messages"][-1]["content"] for body in self.bodies]
        return [(content[-1]["text"], len(content) - 1) for content in contents]


class Handler(BaseHTTPRequestHandler):
    server: Service

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        text = body["messages"][-1]["content"][-1]["text"]
        if text == "refused":
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b'{"error": "Ask otherwise."}')
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for word in text.split():
            self._send(json.dumps({"model": "my/echo", "choices": [{"delta": {"content": f"{word} "}}]}))
            if word == "slow":
                self._wait()
                return
        self._send("[DONE]")

    def _send(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())

    def _wait(self) -> None:
        for _ in range(int(10 * LIMIT_S)):
            try:
                self.wfile.write(b": running\n\n")
            except OSError:
                self.server.left.set()
                return
            self.server.left.wait(0.1)


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch, service: Service) -> Callable[..., int]:
    """Runs the command with a text on its standard input; its exit code."""

    def run(text: bytes, *words: str) -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
        return main(["ask", *words, "--url", service.url])

    return run


def test_a_question_needs_no_picture_and_may_have_several(
    piped: Callable[..., int], service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    pictures = ("--file", str(tmp_path / "a.png"), "--file", "http://a/b.png", "http://a/c.png")
    assert piped(b"", "one two") == Exit.OK
    assert piped(b"", "three", *pictures, "--max-tokens", "7") == Exit.OK
    assert capsys.readouterr().out == "one two \nthree \n"
    assert service.questions == [("one two", 0), ("three", 3)]
    assert [body.get("max_tokens") for body in service.bodies] == [None, 7]


def test_a_question_can_be_piped(
    piped: Callable[..., int], service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert piped(b"one\ntwo\n", "--json", "--file", "http://a/b.png") == Exit.OK
    assert json.loads(capsys.readouterr().out)["text"] == "one two "
    assert service.questions == [("one\ntwo", 1)]


@pytest.mark.parametrize(
    ("text", "sentence"), [(b" \n", "There is no question"), (b"caf\xe9", "not written in UTF-8")]
)
def test_a_pipe_without_a_question_is_one_sentence_that_says_what_to_type(
    text: bytes, sentence: str, piped: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert piped(text) == Exit.USAGE
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (("a.png", "What?"), 'the question comes first: sightline ask "What is this?" a.png'),
        (("What?", "a.png", "--pages", "1"), "name a PDF or TIFF"),
        (("What?", "a.png", "--per-page"), "one PDF or TIFF of this machine"),
        (("What?", "b.pdf", "a.png", "--per-page"), "one PDF or TIFF of this machine"),
        (("What?", "https://a/b.pdf", "--per-page"), "one PDF or TIFF of this machine"),
        (("What?", "notes.txt"), "notes.txt is no picture, PDF"),
        (("What?", "none.pdf"), "none.pdf cannot be read: No such file"),
    ],
)
def test_a_slip_of_a_person_who_has_files_is_one_sentence_that_says_what_to_type(
    typed: tuple[str, ...],
    sentence: str,
    piped: Callable[..., int],
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(PNG)
    Path("b.pdf").write_bytes(b"%PDF-1.7")
    Path("notes.txt").write_text("Notes.", encoding="utf-8")
    assert piped(b"", *typed) == Exit.USAGE
    assert sentence in capsys.readouterr().err
    assert service.bodies == []


class Terminal:
    """The command at a terminal."""

    def __init__(self, ours: int, child: "subprocess.Popen[bytes]") -> None:
        self._ours = ours
        self._child = child
        self._shown = ""

    def wait_for(self, text: str) -> None:
        """Reads on until it is shown, after what was waited for before."""
        while text not in self._shown:
            self._shown += os.read(self._ours, 65536).decode()
        self._shown = self._shown.partition(text)[2]

    def interrupt(self) -> None:
        self._child.send_signal(signal.SIGINT)

    def end(self) -> int:
        return self._child.wait(LIMIT_S)


@contextmanager
def terminal(words: Sequence[str]) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}
    argv = [sys.executable, "-m", "sightline", "ask", *words]
    child = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield Terminal(ours, child)
    finally:
        child.kill()
        child.wait()
        os.close(ours)


@pytest.mark.timeout(LIMIT_S)
def test_ctrl_c_stops_an_answer(service: Service) -> None:
    with terminal(("slow one", "http://a/b.png", "--url", service.url)) as shown:
        shown.wait_for("slow ")
        shown.interrupt()
        assert service.left.wait(LIMIT_S), "the service would go on with an answer that no one reads"
        assert shown.end() == 130


@pytest.mark.timeout(LIMIT_S)
def test_a_terminal_without_a_question_is_told_to_type_one(service: Service) -> None:
    with terminal(("--file", "http://a/b.png", "--url", service.url)) as shown:
        shown.wait_for("There is no question")
        assert shown.end() == Exit.USAGE
