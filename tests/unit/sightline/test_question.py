"""A question over HTTP: what is sent, what is printed, and that a broken answer never looks whole."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sightline.exits import CommandError, Exit
from sightline.question import Answer, Question, part_of
from tests.support.pictures import picture

PNG = picture("PNG")
MODEL = "org/m"


def client(handler: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(base_url="http://service", transport=httpx.MockTransport(handler))


def stream(*events: str) -> httpx.Response:
    text = ": waiting\n\n" + "".join(f"data: {event}\n\n" for event in events)
    headers = {"content-type": "text/event-stream", "x-cache": "MISS", "x-job-id": "job_1"}
    return httpx.Response(200, text=text, headers=headers)


def chunk(content: str | None, reason: str | None = None) -> str:
    delta = {} if content is None else {"content": content}
    return json.dumps({"model": MODEL, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def test_answer_is_printed_piece_by_piece_and_returned_whole() -> None:
    printed: list[str] = []
    reply = stream(chunk(""), chunk("A red"), chunk(" circle."), chunk("", "stop"), "[DONE]")

    waits: list[str] = []
    answer = Question(client(lambda _: reply), "What?", MODEL).ask(printed.append, waits.append)

    assert waits == ["waiting"]
    assert answer == Answer("org/m", "A red circle.", "stop", "MISS", "job_1")
    assert [p for p in printed if p] == ["A red", " circle."]


def test_a_question_costs_one_request_and_its_file_travels_as_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    seen: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return stream(chunk("yes", "stop"), "[DONE]")

    answer = Question(client(service), "Is it?", media=[part_of(str(file))]).ask(print)

    (request,) = seen
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Is it?"}]
    assert json.loads(request.content) == {"stream": True, "messages": [{"role": "user", "content": content}]}
    assert answer.model == MODEL


def test_where_several_models_are_served_the_first_is_asked() -> None:
    seen: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": MODEL}, {"id": "org/second"}]})
        if json.loads(request.content).get("model") != MODEL:
            return httpx.Response(404, json={"error": {"message": "Name one.", "code": "model_not_found"}})
        return stream(chunk("yes", "stop"), "[DONE]")

    assert Question(client(service), "Is it?").ask(print).text == "yes"
    assert seen == ["/v1/chat/completions", "/v1/models", "/v1/chat/completions"]
    with pytest.raises(CommandError, match="Name one"):
        Question(client(service), "Is it?", "org/none").ask(print)


@pytest.mark.parametrize("state", ["model_loading", "no_worker"])
def test_a_person_is_told_that_the_model_starts_and_for_how_long_and_gets_the_answer(state: str) -> None:
    told: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        if request.headers["x-wait-for-model"] == "true":
            return stream(chunk("yes", "stop"), "[DONE]")
        words = {"message": "Model org/m is starting, about 12 s.", "code": state}
        return httpx.Response(503, json={"error": words})

    assert Question(client(service), "Is it?", MODEL).ask(print, told.append).text == "yes"
    assert told[0] == "Model org/m is starting, about 12 s."


def test_a_service_without_models_says_how_to_add_one() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": []})
        return httpx.Response(404, json={"error": {"message": "None.", "code": "model_not_found"}})

    with pytest.raises(CommandError, match="sightline models add"):
        Question(client(service), "Is it?").ask(print)


@pytest.mark.parametrize(
    ("data", "ending", "type"),
    [
        (PNG, "png", "image_url"),
        (b"%PDF-1.7", "pdf", "document"),
        (b"II*\0", "tiff", "document"),
        (b"\0\0\0\x18ftypisom", "mp4", "video_url"),
        (b"RIFF\0\0\0\0WAVE", "wav", "audio_url"),
    ],
)
def test_a_file_is_sent_as_what_it_is(data: bytes, ending: str, type: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    for name in (str(tmp_path / "file"), f"https://example.com/a.{ending}?b=c"):
        assert part_of(name)["type"] == type


def test_a_file_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.question.MOST_MB", 1)
    with pytest.raises(CommandError, match="more than 1 MiB"):
        part_of("/dev/zero")


def nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


def refusing(body: str, status: int = 400) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, text=body)


BROKEN = '{"error": {"message": "worker lost", "code": "stream_broken"}}'


@pytest.mark.parametrize(
    ("service", "words", "code"),
    [
        (refusing('{"error": {"message": "No.", "code": "invalid_image"}}'), r"\(400\): No\.$", Exit.REFUSED),
        (refusing('{"error": "No."}'), r"The service refused \(400\): No\.$", Exit.REFUSED),
        (refusing("<html>Bad gateway</html>"), "<html>Bad gateway</html>$", Exit.REFUSED),
        (refusing(""), "no reason given$", Exit.REFUSED),
        (refusing("", 401), "SIGHTLINE_API_KEY", Exit.REFUSED),
        (refusing("hello", 200), "did not answer as this service does", Exit.UNREACHABLE),
        (lambda _: stream(chunk("A red"), BROKEN), "The answer broke off: worker lost", Exit.REFUSED),
        (lambda _: stream(chunk("A red")), "before it was complete", Exit.UNREACHABLE),
        (nobody, r"Connection refused.*is it running.*--url", Exit.UNREACHABLE),
    ],
)
def test_what_is_no_whole_answer_is_one_sentence_with_the_service_s_own_words(
    service: Callable[[httpx.Request], httpx.Response], words: str, code: Exit
) -> None:
    with pytest.raises(CommandError, match=words) as caught:
        Question(client(service), "?", MODEL).ask(print)
    assert caught.value.code is code
