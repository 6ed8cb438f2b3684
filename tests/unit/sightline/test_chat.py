"""A conversation over HTTP: what is sent, what is printed, and that a broken answer never looks whole."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sightline.chat import Answer, Chat, medium_url, part_of
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
    answer = Chat(client(lambda _: reply), MODEL).ask("What?", printed.append, waits.append)

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

    answer = Chat(client(service), pictures=[medium_url(str(picture))]).ask("Is it?", print)

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

    assert Chat(client(service)).ask("Is it?", print).text == "yes"
    assert seen == ["/v1/chat/completions", "/v1/models", "/v1/chat/completions"]
    with pytest.raises(CommandError, match="Name one"):
        Chat(client(service), "org/none").ask("Is it?", print)


@pytest.mark.parametrize("state", ["model_loading", "no_worker"])
def test_a_person_is_told_that_the_model_starts_and_for_how_long_and_gets_the_answer(state: str) -> None:
    told: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        if request.headers["x-wait-for-model"] == "true":
            return stream(chunk("yes", "stop"), "[DONE]")
        words = {"message": "Model org/m is starting, about 12 s.", "code": state}
        return httpx.Response(503, json={"error": words})

    assert Chat(client(service), MODEL).ask("Is it?", print, told.append).text == "yes"
    assert told[0] == "Model org/m is starting, about 12 s."


def test_a_service_without_models_says_how_to_add_one() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": []})
        return httpx.Response(404, json={"error": {"message": "None.", "code": "model_not_found"}})

    with pytest.raises(CommandError, match="sightline models add"):
        Chat(client(service)).ask("Is it?", print)


def test_url_is_left_to_the_service_to_fetch() -> None:
    bodies: list[bytes] = []

    def service(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return stream(chunk("x", "stop"), "[DONE]")

    Chat(client(service), pictures=[medium_url("https://example.com/a.jpg")]).ask("?", print)

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
        Chat(client(lambda _: httpx.Response(400, text=body)), "m").ask("?", print)

    assert str(caught.value) == f"The service refused (400): {reason}"
    assert caught.value.code is Exit.REFUSED


def test_a_key_that_is_missing_is_asked_for_where_commands_look_for_it() -> None:
    with pytest.raises(CommandError, match="SIGHTLINE_API_KEY"):
        Chat(client(lambda _: httpx.Response(401, text="")), "m").ask("?", print)


def test_error_inside_the_stream_ends_the_command_with_its_message() -> None:
    reply = stream(chunk("A red"), '{"error": {"message": "worker lost", "code": "stream_broken"}}')

    with pytest.raises(CommandError, match="The answer broke off: worker lost"):
        Chat(client(lambda _: reply), "m").ask("?", print)


def test_stream_without_its_end_mark_is_not_taken_for_an_answer() -> None:
    with pytest.raises(CommandError, match="before it was complete") as caught:
        Chat(client(lambda _: stream(chunk("A red"))), "m").ask("?", print)

    assert caught.value.code is Exit.UNREACHABLE


def test_service_that_does_not_run_is_one_sentence() -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with pytest.raises(CommandError, match=r"Connection refused.*is it running.*--url") as caught:
        Chat(client(nobody)).ask("?", print)

    assert caught.value.code is Exit.UNREACHABLE


def test_other_server_at_the_address_is_one_sentence() -> None:
    with pytest.raises(CommandError, match="did not answer as this service does"):
        Chat(client(lambda _: httpx.Response(200, text="hello"))).ask("?", print)


def test_missing_picture_is_one_sentence() -> None:
    with pytest.raises(CommandError, match=r"/no/picture.png cannot be read: No such file") as caught:
        medium_url("/no/picture.png")

    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize("name", ["pic", "pic.txt", "pic.mp3"])
def test_a_picture_is_one_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PNG)

    assert medium_url(str(tmp_path / name)).startswith("data:image/")


@pytest.mark.parametrize(
    ("data", "ending", "type"),
    [
        (PNG, "png", "image_url"),
        (b"%PDF-1.7", "pdf", "document"),
        (b"\0\0\0\x18ftypisom", "mp4", "video_url"),
        (b"RIFF\0\0\0\0WAVE", "wav", "audio_url"),
    ],
)
def test_a_file_is_sent_as_what_it_is(data: bytes, ending: str, type: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    for url in (medium_url(str(tmp_path / "file")), f"https://example.com/a.{ending}?b=c"):
        assert part_of(url)["type"] == type


def test_a_file_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.chat.MOST_MB", 1)
    with pytest.raises(CommandError, match="more than 1 MiB"):
        medium_url("/dev/zero")


class Talk:
    """A service that answers each question with the next of its streams."""

    def __init__(self, *replies: httpx.Response) -> None:
        self._replies = iter(replies)
        self.messages: list[list[dict[str, Any]]] = []
        self.chat = Chat(client(self._reply), MODEL)

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.messages.append(json.loads(request.content)["messages"])
        return next(self._replies)

    def said(self) -> list[tuple[str, str, int]]:
        """Role, text and number of pictures of each message of the last request."""
        return [(message["role"], *_content(message["content"])) for message in self.messages[-1]]


def _content(content: str | list[dict[str, Any]]) -> tuple[str, int]:
    if isinstance(content, str):
        return content, 0
    *pictures, text = content
    assert all(part["type"] == "image_url" for part in pictures)
    return text["text"], len(pictures)


def answer(*pieces: str) -> httpx.Response:
    return stream(*map(chunk, pieces), chunk("", "stop"), "[DONE]")


def test_a_follow_up_knows_what_was_said_and_its_pictures_are_those_of_the_first_question() -> None:
    talk = Talk(answer("A cat", "."), answer("Black."))
    talk.chat.pictures = ["http://a/b.png", "http://a/c.png"]
    talk.chat.ask("What is it?", print)
    assert talk.said() == [("user", "What is it?", 2)]

    assert talk.chat.ask("Which colour?", print).text == "Black."

    assert talk.said() == [
        ("user", "What is it?", 2),
        ("assistant", "A cat.", 0),
        ("user", "Which colour?", 0),
    ]


def test_of_an_answer_that_was_stopped_the_part_that_was_read_is_known_later() -> None:
    talk = Talk(answer("A cat", " and more."), answer("It is."))

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talk.chat.ask("What is it?", stop)
    talk.chat.ask("Is it?", print)

    assert talk.said() == [("user", "What is it?", 0), ("assistant", "A cat", 0), ("user", "Is it?", 0)]


def test_a_question_that_was_refused_can_be_asked_again_with_its_pictures() -> None:
    talk = Talk(httpx.Response(503, json={"error": "Busy."}), answer("A cat."))
    talk.chat.pictures = ["http://a/b.png"]
    with pytest.raises(CommandError, match="Busy"):
        talk.chat.ask("What is it?", print)

    talk.chat.ask("What is it?", print)

    assert talk.said() == [("user", "What is it?", 1)]
    assert talk.chat.pictures == []
