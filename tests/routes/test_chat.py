"""OpenAI's doors: whole answers, streams, and what becomes of a failure at each moment."""

import json
from typing import Any

import pytest

from shared.errors import CallerError
from tests.support.app import MODELS, application, serving
from tests.support.desk import Desk, answering, failing
from tests.support.exchange import data, posted

TURNS = [{"role": "user", "content": "What is this?"}]
CHAT = {"model": "sightline/tiny", "messages": TURNS}
STREAM = {**CHAT, "stream": True}
FIRST = "job_00000000000000000000000000000001"
WHOLE = {
    "id": "chatcmpl-00000000000000000000000000000001",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "sightline/tiny",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A cat.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": {"image_tokens": 4},
    },
    "system_fingerprint": "f" * 32,
}


async def test_a_chat_answer_carries_its_job_and_its_times() -> None:
    async with serving(answering("A cat.")) as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    assert (response.status_code, response.json()) == (200, WHOLE)
    named = {n: response.headers[n] for n in ("x-job-id", "x-cache", "x-compute-time", "x-queue-time")}
    assert named == {"x-job-id": FIRST, "x-cache": "MISS", "x-compute-time": "0.250", "x-queue-time": "0.500"}


async def test_a_text_completion_is_answered_in_its_own_form() -> None:
    async with serving(answering("A cat.")) as client:
        response = await client.post("/v1/completions", json={"model": "sightline/tiny", "prompt": "What?"})

    choice = {"index": 0, "text": "A cat.", "logprobs": None, "finish_reason": "stop"}
    assert (response.status_code, response.json()["object"]) == (200, "text_completion")
    assert response.json()["choices"] == [choice]


@pytest.mark.parametrize(
    ("path", "named", "meant"),
    [
        ("/v1/chat/completions", "org/other", "org/other"),
        ("/v1/chat/completions", "org/other:hf-inference", "org/other"),
        ("/models/org/other/v1/chat/completions", "dummy", "org/other"),
        ("/models/org/other/v1/chat/completions", None, "org/other"),
        ("/models/org/other/v1/chat/completions", "http://host/models/org/other", "org/other"),
        ("/hf-inference/models/org/other/v1/chat/completions", "org/other", "org/other"),
    ],
)
async def test_a_model_is_found_by_every_name_that_clients_send(
    path: str, named: str | None, meant: str
) -> None:
    desk = answering("A cat.")
    body = {"messages": TURNS} if named is None else {"messages": TURNS, "model": named}
    async with serving(desk) as client:
        response = await client.post(path, json=body)

    assert (response.status_code, response.json()["model"]) == (200, meant)
    assert [request.model for request, _ in desk.asked] == [meant]


async def test_no_name_is_not_enough_where_several_models_are_served() -> None:
    assert len(MODELS.rows) == 2
    async with serving(answering("A cat.")) as client:
        response = await client.post("/v1/chat/completions", json={"messages": TURNS})

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("headers", "refused"),
    [({}, True), ({"x-wait-for-model": "true"}, False), ({"x-wait-for-model": "no"}, True)],
)
async def test_only_a_caller_who_says_so_waits_for_a_model(headers: dict[str, str], refused: bool) -> None:
    desk = answering("A cat.")
    async with serving(desk) as client:
        for body in (CHAT, STREAM):
            await client.post("/v1/chat/completions", json=body, headers=headers)

    assert [terms.must_be_ready for _, terms in desk.asked] == [refused, refused]


async def test_a_call_past_its_limit_names_the_job_that_goes_on() -> None:
    desk = Desk()
    async with serving(desk, sync_limit_s=0.01) as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    message = f"No answer within 0.01 s; /v1/jobs/{FIRST} goes on."
    error = {"message": message, "type": "server_error", "param": None, "code": "wait_exceeded"}
    assert (response.status_code, response.json()) == (504, {"error": error})
    assert (response.headers["x-job-id"], response.headers["retry-after"]) == (FIRST, "1")
    assert desk.views[FIRST].status == "queued"


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_failed_run_answers_with_its_own_status(body: dict[str, Any]) -> None:
    async with serving(failing(code="invalid_image")) as client:
        response = await client.post("/v1/chat/completions", json=body)

    error = {
        "message": "It broke.",
        "type": "invalid_request_error",
        "param": "messages.0",
        "code": "invalid_image",
    }
    assert (response.status_code, response.json()) == (400, {"error": error})
    assert (response.headers["content-type"], response.headers["x-job-id"]) == ("application/json", FIRST)


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_job_cancelled_by_another_is_not_asked_for_again(body: dict[str, Any]) -> None:
    desk = Desk()
    async with application(desk) as app:
        call = posted(app, body)
        await desk.submitted.wait()
        await desk.cancel("local", FIRST)
        await call.finish()

    assert (call.status, call.headers["x-should-retry"]) == (409, "false")
    assert json.loads(call.body)["error"]["code"] == "job_cancelled"


async def test_an_error_code_of_a_newer_worker_is_still_an_answer() -> None:
    async with serving(failing(code="from_the_future")) as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")


def _chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-00000000000000000000000000000001",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "sightline/tiny",
        "system_fingerprint": None,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
    }


async def test_a_stream_is_the_answer_in_pieces_and_says_its_end() -> None:
    async with serving(answering("A ", "cat.")) as client:
        response = await client.post("/v1/chat/completions", json=STREAM)

    assert (response.status_code, response.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert (response.headers["x-job-id"], response.headers["x-cache"]) == (FIRST, "MISS")
    assert "x-compute-time" not in response.headers
    assert data(response.content) == [
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "A "}),
        _chunk({"content": "cat."}),
        _chunk({"content": ""}, "stop"),
        "[DONE]",
    ]


async def test_a_stream_counts_its_tokens_only_when_asked() -> None:
    body = {**STREAM, "stream_options": {"include_usage": True}}
    async with serving(answering("A cat.")) as client:
        response = await client.post("/v1/chat/completions", json=body)

    *_, usage, done = data(response.content)
    assert (usage["choices"], usage["usage"], done) == ([], WHOLE["usage"], "[DONE]")


async def test_an_empty_answer_is_a_whole_stream_too() -> None:
    async with serving(answering("")) as client:
        response = await client.post("/v1/chat/completions", json=STREAM)

    role, finish, done = data(response.content)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (finish["choices"][0]["finish_reason"], done) == ("stop", "[DONE]")


async def test_a_text_stream_is_in_its_own_form() -> None:
    body = {"model": "sightline/tiny", "prompt": "What?", "stream": True}
    async with serving(answering("A ", "cat.")) as client:
        response = await client.post("/v1/completions", json=body)

    *chunks, done = data(response.content)
    assert [(c["choices"][0]["text"], c["choices"][0]["finish_reason"]) for c in chunks] == [
        ("A ", None),
        ("cat.", None),
        ("", "stop"),
    ]
    assert done == "[DONE]"


async def test_no_block_of_a_stream_is_without_data() -> None:
    desk = Desk()
    async with application(desk, keepalive_s=0.01, head_start_s=0.01) as app:
        stream = posted(app, STREAM)
        await stream.until(lambda e: b": queued 3 busy\n\n" in e.body)
        desk.succeed(FIRST, "A cat.")
        await stream.finish()

    parts = [part for part in stream.body.split(b"\n\n") if part]
    assert all(part.startswith((b"data: ", b": ")) for part in parts)


async def test_a_failure_in_mid_stream_is_an_error_event_and_no_end_of_text() -> None:
    async with serving(failing("A ")) as client:
        response = await client.post("/v1/chat/completions", json=STREAM)

    error = {"message": "It broke.", "type": "server_error", "param": "messages.0", "code": "stream_broken"}
    assert response.status_code == 200
    assert data(response.content)[-1] == {"error": error, "error_type": "generation"}


async def test_a_bug_in_mid_stream_is_an_error_event_without_its_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk()
    async with application(desk) as app:
        stream = posted(app, STREAM)
        await desk.submitted.wait()
        desk.say(FIRST, "A ")
        await stream.until(lambda e: b'"A "' in e.body)
        desk.refusal = RuntimeError("secret")
        desk.succeed(FIRST, "cat.")
        await stream.finish()

    last = data(stream.body)[-1]
    assert (last["error"]["code"], b"secret" in stream.body) == ("internal_error", False)
    assert [r.getMessage() for r in caplog.records] == ["an event stream failed"]


async def test_a_stream_whose_job_vanishes_does_not_end_as_if_complete() -> None:
    desk = Desk()
    async with application(desk) as app:
        stream = posted(app, STREAM)
        await desk.submitted.wait()
        desk.say(FIRST, "A ")
        await stream.until(lambda e: b'"A "' in e.body)
        desk.refusal = CallerError("job_not_found", "The job was deleted.")
        await stream.finish()

    assert data(stream.body)[-1]["error"]["code"] == "job_not_found"


async def test_the_headers_of_a_slow_stream_do_not_wait_for_its_first_word() -> None:
    desk = Desk()
    async with application(desk, head_start_s=0.01, keepalive_s=60) as app:
        stream = posted(app, STREAM)
        await stream.until(lambda e: e.body == b": waiting\n\n")
        desk.fail(FIRST, "invalid_image", "Not a picture.")
        await stream.finish()

    # Found late, it can only be an event: the status has left.
    assert stream.status == 200
    assert data(stream.body)[-1]["error"]["code"] == "invalid_image"


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_caller_who_hangs_up_frees_the_row(body: dict[str, Any]) -> None:
    desk = Desk()
    async with application(desk) as app:
        call = posted(app, body)
        await desk.submitted.wait()
        call.hang_up()
        await call.finish()
        await desk.cancelled.wait()

    assert desk.views[FIRST].status == "cancelled"


async def test_a_reader_who_hangs_up_in_mid_stream_frees_the_row() -> None:
    desk = Desk()
    async with application(desk) as app:
        call = posted(app, STREAM)
        await desk.submitted.wait()
        desk.say(FIRST, "A ")
        await call.until(lambda e: b'"A "' in e.body)
        call.hang_up()
        await call.finish()
        await desk.cancelled.wait()

    assert desk.views[FIRST].status == "cancelled"


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_caller_with_a_key_may_come_back_for_the_answer(body: dict[str, Any]) -> None:
    desk = Desk()
    async with application(desk) as app:
        for headers in ({"idempotency_key": "k-1"}, {}):
            desk.submitted.clear()
            call = posted(app, body, **headers)
            await desk.submitted.wait()
            call.hang_up()
            await call.finish()
        # The second caller's leaving comes behind the first's, had there been one.
        await desk.cancelled.wait()

    assert [view.status for view in desk.views.values()] == ["queued", "cancelled"]


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_when_this_process_stops_nobody_leaves(body: dict[str, Any]) -> None:
    desk = Desk()
    async with application(desk, leave_grace_s=3600) as app:
        call = posted(app, body)
        await desk.submitted.wait()
        call.hang_up()
        await call.finish()

    assert desk.views[FIRST].status == "queued"
