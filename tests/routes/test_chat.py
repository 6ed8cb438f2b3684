"""OpenAI's doors: whole answers, streams, and what becomes of a failure at each moment."""

import json
from typing import Any

import pytest

from tests.support.app import MODELS, application, serving
from tests.support.asgi_exchange import posted
from tests.support.fake_service import FakeService, answering, failing

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
        "prompt_tokens_details": {"cached_tokens": 0, "image_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "f" * 32,
}


async def test_a_chat_answer_carries_its_job_and_its_times() -> None:
    async with serving(answering("A cat.")) as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    assert (response.status_code, response.json()) == (200, WHOLE)
    named = {n: response.headers[n] for n in ("x-job-id", "x-cache", "x-compute-time", "x-queue-time")}
    assert named == {"x-job-id": FIRST, "x-cache": "MISS", "x-compute-time": "0.250", "x-queue-time": "1.250"}


@pytest.mark.parametrize(
    ("tier", "waits_as"),
    [(None, "normal"), ("auto", "normal"), ("scale", "normal"), ("flex", "batch"), ("fast", "interactive")],
)
async def test_a_service_tier_is_the_chat_s_place_in_line(tier: str | None, waits_as: str) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        await client.post("/v1/chat/completions", json={**CHAT, "service_tier": tier})

    assert [terms.schedule.priority for _, terms in service.asked] == [waits_as]


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
    service = answering("A cat.")
    body = {"messages": TURNS} if named is None else {"messages": TURNS, "model": named}
    async with serving(service) as client:
        response = await client.post(path, json=body)

    assert (response.status_code, response.json()["model"]) == (200, meant)
    assert [request.model for request, _ in service.asked] == [meant]


@pytest.mark.parametrize(
    ("path", "hf"),
    [("/v1/chat/completions", False), ("/models/org/other/v1/chat/completions", True)],
)
async def test_under_a_models_own_url_a_chat_is_hugging_faces_and_may_be_cached(path: str, hf: bool) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        await client.post(path, json={**CHAT, "model": "org/other"})

    assert [(terms.caching.reuse_sampled, terms.raw_prompt) for _, terms in service.asked] == [(hf, False)]


async def test_no_name_is_not_enough_where_several_models_are_served() -> None:
    assert len(MODELS.rows) == 2
    async with serving(answering("A cat.")) as client:
        response = await client.post("/v1/chat/completions", json={"messages": TURNS})

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    told = "Several models are served; name one of: sightline/tiny, org/other."
    assert response.json()["error"]["message"] == told


async def test_the_metadata_of_a_chat_is_found_on_its_job() -> None:
    async with serving(answering("A cat.")) as client:
        chat = await client.post("/v1/chat/completions", json={**CHAT, "metadata": {"shop": "7"}})
        job = await client.get(f"/v1/jobs/{chat.headers['x-job-id']}")

    assert job.json()["metadata"] == {"shop": "7"}


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, True),
        ({"x-wait-for-model": "true"}, False),
        ({"x-wait-for-model": "TRUE"}, False),
        ({"x-wait-for-model": "FALSE"}, True),
    ],
)
async def test_only_a_caller_who_says_so_waits_for_a_model(headers: dict[str, str], refused: bool) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        for body in (CHAT, STREAM):
            await client.post("/v1/chat/completions", json=body, headers=headers)

    assert [terms.schedule.must_be_ready for _, terms in service.asked] == [refused, refused]


@pytest.mark.parametrize(("name", "word"), [("x-wait-for-model", "yes"), ("x-use-cache", "no")])
async def test_a_word_that_is_neither_true_nor_false_is_not_silently_ignored(name: str, word: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers={name: word})

    error = {"message": f"{name} is true or false.", "param": name, "code": "invalid_request"}
    assert (response.status_code, response.json()["error"].items() >= error.items()) == (400, True)


async def test_a_call_past_its_limit_names_the_job_that_goes_on() -> None:
    service = FakeService()
    async with serving(service, sync_limit_s=0.01) as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    message = f"No answer within 0.01 s (SIGHTLINE_API__SYNC_LIMIT_S); /v1/jobs/{FIRST} goes on."
    error = {"message": message, "type": "server_error", "param": None, "code": "wait_exceeded"}
    assert (response.status_code, response.json()) == (504, {"error": error})
    assert (response.headers["x-job-id"], response.headers["retry-after"]) == (FIRST, "1")
    assert service.views[FIRST].status == "queued"


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
    service = FakeService()
    async with application(service) as app:
        call = posted(app, body)
        await service.submitted.wait()
        await service.cancel("local", FIRST)
        await call.finish()

    assert (call.status, call.headers["x-should-retry"]) == (409, "false")
    assert json.loads(call.body)["error"]["code"] == "job_cancelled"


async def test_an_error_code_of_a_newer_worker_is_still_an_answer() -> None:
    async with serving(failing(code="from_the_future")) as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
