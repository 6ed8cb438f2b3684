"""`sightline ask`: what is sent, what is printed, and that a broken answer never looks whole."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sightline.ask import Answer, Question, ask, picture_url
from sightline.exits import CommandError, Exit

PNG = b"\x89PNG\r\n"
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
    question = Question("What?", "http://a/b.png", "org/m")
    answer = ask(client(lambda _: reply), question, printed.append, waits.append)

    assert waits == ["waiting"]
    assert answer == Answer("org/m", "A red circle.", "stop", "MISS", "job_1")
    assert [p for p in printed if p] == ["A red", " circle."]


def test_a_question_costs_one_request_and_its_file_travels_as_bytes(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    seen: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return stream(chunk("yes", "stop"), "[DONE]")

    answer = ask(client(service), Question("Is it?", str(picture)), print)

    (request,) = seen
    assert json.loads(request.content) == {
        "stream": True,
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"},
                    },
                    {"type": "text", "text": "Is it?"},
                ],
            }
        ],
    }
    assert request.headers["x-wait-for-model"] == "true"
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

    assert ask(client(service), Question("Is it?", "http://a/b.png"), print).text == "yes"
    assert seen == ["/v1/chat/completions", "/v1/models", "/v1/chat/completions"]
    with pytest.raises(CommandError, match="Name one"):
        ask(client(service), Question("Is it?", "http://a/b.png", "org/none"), print)


def test_a_service_without_models_says_how_to_add_one() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": []})
        return httpx.Response(404, json={"error": {"message": "None.", "code": "model_not_found"}})

    with pytest.raises(CommandError, match="sightline models add"):
        ask(client(service), Question("Is it?", "http://a/b.png"), print)


def test_url_is_left_to_the_service_to_fetch() -> None:
    bodies: list[bytes] = []

    def service(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return stream(chunk("x", "stop"), "[DONE]")

    ask(client(service), Question("?", "https://example.com/a.jpg", "m"), print)

    part = json.loads(bodies[0])["messages"][0]["content"][0]
    assert part == {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"error": {"message": "Not a picture.", "code": "invalid_image"}}', "Not a picture."),
        ('{"error": "Not a picture."}', "Not a picture."),
        ("<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        ("", "no reason given"),
    ],
)
def test_refusal_is_one_sentence_with_the_service_s_own_words(body: str, reason: str) -> None:
    with pytest.raises(CommandError) as caught:
        ask(client(lambda _: httpx.Response(400, text=body)), Question("?", "http://a/b.png", "m"), print)

    assert str(caught.value) == f"The service refused (400): {reason}"
    assert caught.value.code is Exit.REFUSED


def test_a_key_that_is_missing_is_asked_for_where_commands_look_for_it() -> None:
    with pytest.raises(CommandError, match="SIGHTLINE_API_KEY"):
        ask(client(lambda _: httpx.Response(401, text="")), Question("?", "http://a/b.png", "m"), print)


def test_error_inside_the_stream_ends_the_command_with_its_message() -> None:
    reply = stream(chunk("A red"), '{"error": {"message": "worker lost", "code": "stream_broken"}}')

    with pytest.raises(CommandError, match="The answer broke off: worker lost"):
        ask(client(lambda _: reply), Question("?", "http://a/b.png", "m"), print)


def test_stream_without_its_end_mark_is_not_taken_for_an_answer() -> None:
    with pytest.raises(CommandError, match="before it was complete") as caught:
        ask(client(lambda _: stream(chunk("A red"))), Question("?", "http://a/b.png", "m"), print)

    assert caught.value.code is Exit.UNREACHABLE


def test_service_that_does_not_run_is_one_sentence() -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with pytest.raises(CommandError, match=r"Connection refused.*is it running.*--url") as caught:
        ask(client(nobody), Question("?", "http://a/b.png"), print)

    assert caught.value.code is Exit.UNREACHABLE


def test_other_server_at_the_address_is_one_sentence() -> None:
    with pytest.raises(CommandError, match="did not answer as this service does"):
        ask(client(lambda _: httpx.Response(200, text="hello")), Question("?", "http://a/b.png"), print)


def test_missing_picture_is_one_sentence() -> None:
    with pytest.raises(CommandError, match=r"/no/picture.png cannot be read: No such file") as caught:
        ask(client(lambda _: stream()), Question("?", "/no/picture.png", "m"), print)

    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize("name", ["pic", "pic.txt", "pic.mp3"])
def test_a_picture_is_one_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PNG)

    assert picture_url(str(tmp_path / name)).startswith("data:image/")


def test_signs_that_end_a_line_only_in_a_text_end_no_event() -> None:
    odd = "one\u2028two\u2029three\x85four\x0bfive"
    piece = json.dumps({"model": MODEL, "choices": [{"delta": {"content": odd}}]}, ensure_ascii=False)

    answer = ask(client(lambda _: stream(piece, "[DONE]")), Question("?", "http://a/b.png", "m"), print)

    assert answer.text == odd
