"""A chat answer in pieces, and what becomes of a failure at each moment."""

from typing import Any

import httpx
import pytest
from pydantic_core import from_json

from shared.errors import CallerError
from tests.support.app import application, serving
from tests.support.asgi_exchange import data, posted
from tests.support.fake_service import FakeService, answering, failing

TURNS = [{"role": "user", "content": "What is this?"}]
STREAM = {"model": "sightline/tiny", "messages": TURNS, "stream": True}
FIRST = "job_00000000000000000000000000000001"


def _chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-00000000000000000000000000000001",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "sightline/tiny",
        "service_tier": "default",
        "system_fingerprint": "f" * 32,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
    }


async def test_a_stream_is_the_answer_in_pieces_and_says_its_end() -> None:
    async with serving(answering("A ", "cat.")) as client:
        response = await client.post("/v1/chat/completions", json=STREAM)

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (response.headers["x-job-id"], response.headers["x-cache"]) == (FIRST, "MISS")
    assert "x-compute-time" not in response.headers
    assert data(response.content) == [
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "A "}),
        _chunk({"content": "cat."}),
        _chunk({"content": ""}, "stop"),
        "[DONE]",
    ]


STREAMS = [
    ("/v1/chat/completions", STREAM),
    ("/v1/responses", {"model": "sightline/tiny", "input": "What?", "stream": True}),
    ("/models/sightline/tiny", {"inputs": "What?", "stream": True}),
    (f"/v1/jobs/{FIRST}/events", None),
]
JOB = {"model": "sightline/tiny", "input": {"prompt": "What?"}, "metadata": {"line": "a\u2028b"}}


async def streamed(path: str, body: dict[str, Any] | None, *pieces: str) -> httpx.Response:
    async with serving(answering(*pieces)) as client:
        if body is not None:
            return await client.post(path, json=body)
        await client.post("/v1/jobs", json=JOB)
        return await client.get(path)


@pytest.mark.parametrize(("path", "body"), STREAMS)
async def test_an_answer_with_line_ends_of_unicode_cuts_no_event_for_who_reads_lines(
    path: str, body: dict[str, Any] | None
) -> None:
    text = (await streamed(path, body, "a\u2028b", "\x85c\u2029")).text

    assert text.splitlines() == text.removesuffix("\n").split("\n")
    told = [from_json(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert "'a\\u2028b'" in str(told)


@pytest.mark.parametrize(("path", "body"), STREAMS)
async def test_no_proxy_may_hold_back_the_events_of_a_stream(path: str, body: dict[str, Any] | None) -> None:
    response = await streamed(path, body, "A ", "cat.")

    assert response.status_code == 200, response.text
    # nginx heeds the first, and whoever compresses or stores answers the other.
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["cache-control"] == "no-store, no-transform"


async def test_an_empty_answer_is_a_whole_stream_too() -> None:
    async with serving(answering("")) as client:
        response = await client.post("/v1/chat/completions", json=STREAM)

    role, finish, done = data(response.content)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (finish["choices"][0]["finish_reason"], done) == ("stop", "[DONE]")


async def test_no_block_of_a_stream_is_without_data() -> None:
    service = FakeService()
    async with application(service, keepalive_s=0.01, head_start_s=0.01) as app:
        stream = posted(app, STREAM)
        await stream.until(lambda e: b": queued: busy, 3 ahead\n\n" in e.body)
        service.succeed(FIRST, "A cat.")
        await stream.finish()

    parts = [part for part in stream.body.split(b"\n\n") if part]
    assert all(part.startswith((b"data: ", b": ")) for part in parts)


async def test_a_failure_in_mid_stream_is_an_error_event_and_no_end_of_text() -> None:
    async with serving(failing("A ")) as client:
        response = await client.post("/v1/chat/completions", json=STREAM)

    error = {"message": "It broke.", "type": "server_error", "param": "messages.0", "code": "stream_broken"}
    assert response.status_code == 200
    assert data(response.content)[-1] == {"error": error, "error_type": "generation"}
    # LangChain4j needs the name, and go-openai that it does not come first, right behind what it has read.
    blank, said, *rest = response.content.split(b"\n")[-5:]
    assert blank == b""
    assert said.startswith(b'data: {"error":')
    assert rest == [b"event: error", b"", b""]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("secret"), "internal_error"),
        (CallerError("job_not_found", "The job was deleted."), "job_not_found"),
    ],
)
async def test_a_stream_that_cannot_go_on_ends_with_an_error_without_secrets(
    error: Exception, code: str
) -> None:
    service = FakeService()
    async with application(service) as app:
        stream = posted(app, STREAM)
        await service.submitted.wait()
        service.say(FIRST, "A ")
        await stream.until(lambda e: b'"A "' in e.body)
        service.refusal = error
        service.succeed(FIRST, "cat.")
        await stream.finish()

    assert (data(stream.body)[-1]["error"]["code"], b"secret" in stream.body) == (code, False)


async def test_the_headers_of_a_slow_stream_do_not_wait_for_its_first_word() -> None:
    service = FakeService()
    async with application(service, head_start_s=0.01, keepalive_s=60) as app:
        stream = posted(app, STREAM)
        await stream.until(lambda e: e.body == b": waiting\n\n")
        service.fail(FIRST, "invalid_image", "Not a picture.")
        await stream.finish()

    # Found late, it can only be an event: the status has left.
    assert stream.status == 200
    assert data(stream.body)[-1]["error"]["code"] == "invalid_image"
