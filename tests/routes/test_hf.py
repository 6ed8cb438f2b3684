"""Hugging Face's doors, as its clients knock."""

import json
from typing import Any

import pytest

from shared.request import Image, Text
from tests.support.app import JSON, application, serving
from tests.support.asgi_exchange import data, posted
from tests.support.fake_service import FakeService, answering, failing

FIRST = "job_00000000000000000000000000000001"
INPUTS = {"inputs": "What is this?"}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
JS = "@huggingface/inference/4.13.30 Node.js/22"
MODEL_URL = "/models/sightline/tiny"


@pytest.mark.parametrize("path", [MODEL_URL, "/hf-inference" + MODEL_URL, "/", "/v1", "/v1/"])
async def test_a_question_is_answered_at_every_url_that_means_the_model(path: str) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        response = await client.post(path, json=INPUTS)

    assert (response.status_code, response.json()) == (200, [{"generated_text": "A cat."}])
    assert [request.model for request, _ in service.asked] == ["sightline/tiny"]
    named = {n: response.headers[n] for n in ("x-job-id", "x-cache", "x-compute-time", "x-queue-time")}
    assert named == {"x-job-id": FIRST, "x-cache": "MISS", "x-compute-time": "0.250", "x-queue-time": "1.250"}


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", None])
@pytest.mark.parametrize(("agent", "listed"), [(JS, False), ("unknown/None; hf_hub/2.4.0", True)])
async def test_a_pictures_bytes_are_a_question_whatever_they_are_called(
    kind: str | None, agent: str, listed: bool
) -> None:
    service = answering("A cat.")
    headers = {"user-agent": agent} | ({"content-type": kind} if kind else {})
    async with serving(service) as client:
        response = await client.post(MODEL_URL, content=PNG, headers=headers)

    answer = {"generated_text": "A cat."}
    assert (response.status_code, response.json()) == (200, [answer] if listed else answer)
    picture, text = service.asked[0][0].messages[0].parts
    assert (isinstance(picture, Image) and picture.data, isinstance(text, Text)) == (PNG, True)


async def test_a_question_about_a_picture_gets_answers_with_scores() -> None:
    body = {"inputs": {"image": "iVBORw0KGgo=", "question": "What?"}}
    async with serving(answering("cat")) as client:
        response = await client.post(MODEL_URL, json=body)

    assert (response.status_code, response.json()) == (200, [{"answer": "cat", "score": 0.5}])


@pytest.mark.parametrize(
    ("header", "options", "used"),
    [
        (None, {}, True),
        ("true", {}, True),
        ("false", {}, False),
        ("False", {}, False),
        ("FALSE", {}, False),
        ("0", {}, False),
        (None, {"use_cache": False}, False),
        ("true", {"use_cache": True}, True),
    ],
)
async def test_the_cache_can_be_declined_in_every_spelling(
    header: str | None, options: dict[str, bool], used: bool
) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        headers = {} if header is None else {"x-use-cache": header}
        await client.post(MODEL_URL, json={**INPUTS, "options": options}, headers=headers)

    assert [(terms.caching.use_cache, terms.caching.reuse_sampled) for _, terms in service.asked] == [
        (used, True)
    ]


@pytest.mark.parametrize(
    ("headers", "options", "refused"),
    [({}, {}, True), ({"x-wait-for-model": "true"}, {}, False), ({}, {"wait_for_model": True}, False)],
)
async def test_waiting_for_a_model_can_be_asked_in_header_and_body(
    headers: dict[str, str], options: dict[str, bool], refused: bool
) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        await client.post(MODEL_URL, json={**INPUTS, "options": options}, headers=headers)

    assert [terms.schedule.must_be_ready for _, terms in service.asked] == [refused]


async def test_respond_async_answers_with_the_job() -> None:
    service = FakeService()
    async with serving(service) as client:
        response = await client.post(MODEL_URL, json=INPUTS, headers={"prefer": "respond-async"})

    assert (response.status_code, response.json()["id"], response.json()["object"]) == (202, FIRST, "job")
    assert (response.headers["location"], response.headers["retry-after"]) == (f"/v1/jobs/{FIRST}", "1")
    assert [(terms.schedule.must_be_ready, terms.caching.reuse_sampled) for _, terms in service.asked] == [
        (False, True)
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_who_would_wait_a_while_before_it_is_a_job_gets_the_answer_itself(stream: bool) -> None:
    async with serving(answering("A cat.")) as client:
        headers = {"prefer": "respond-async, wait=10"}
        response = await client.post(MODEL_URL, json={**INPUTS, "stream": stream}, headers=headers)

    assert (response.status_code, "A cat." in response.text) == (200, True)
    assert response.headers["content-type"].startswith("text/event-stream" if stream else "application/json")


async def test_who_waited_in_vain_before_it_is_a_job_gets_the_job() -> None:
    service = FakeService()
    async with serving(service, sync_limit_s=0.01) as client:
        headers = {"prefer": "respond-async, wait=10"}
        response = await client.post(MODEL_URL, json=INPUTS, headers=headers)

    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert [(terms.schedule.must_be_ready, terms.synchronous) for _, terms in service.asked] == [
        (False, False)
    ]


async def test_a_stream_is_tokens_and_at_last_the_whole_text() -> None:
    async with serving(answering("A ", "cat.")) as client:
        response = await client.post(MODEL_URL, json={**INPUTS, "stream": True})

    def token(index: int, text: str, special: bool, whole: str | None) -> dict[str, Any]:
        said = {"id": 0, "text": text, "special": special, "logprob": None}
        return {"index": index, "token": said, "generated_text": whole, "details": None}

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert data(response.content) == [
        token(1, "A ", False, None),
        token(2, "cat.", False, None),
        token(3, "", True, "A cat."),
    ]


async def test_a_stream_that_breaks_says_so() -> None:
    async with serving(failing("A ")) as client:
        response = await client.post(MODEL_URL, json={**INPUTS, "stream": True})

    assert data(response.content)[-1]["error_type"] == "generation"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_run_that_fails_before_its_first_word_answers_with_its_status(stream: bool) -> None:
    async with serving(failing(code="invalid_image")) as client:
        response = await client.post(MODEL_URL, json={**INPUTS, "stream": stream})

    text = "`messages.0`: It broke."
    assert (response.status_code, response.json()) == (400, {"error": text, "error_type": "invalid_image"})
    assert (response.headers["x-error-message"], response.headers["x-job-id"]) == (text, FIRST)


async def test_a_caller_who_hangs_up_frees_the_row() -> None:
    service = FakeService()
    async with application(service) as app:
        call = posted(app, INPUTS, MODEL_URL)
        await service.submitted.wait()
        call.hang_up()
        await call.finish()
        await service.cancelled.wait()

    assert service.views[FIRST].status == "cancelled"


async def test_an_asynchronous_caller_never_leaves() -> None:
    service = FakeService()
    async with application(service) as app:
        call = posted(app, INPUTS, MODEL_URL, prefer="respond-async")
        await call.finish()
        call.hang_up()

    assert (json.loads(call.body)["status"], service.views[FIRST].status) == ("queued", "queued")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models/nobody/none"),
        ("POST", "/models/nobody/none/v1/chat/completions"),
        ("GET", "/models/nobody/none"),
        ("GET", "/models/nobody/none/health"),
        ("GET", "/models/nobody/none/info"),
        ("GET", "/status/nobody/none"),
    ],
)
async def test_an_unknown_model_is_a_404_that_names_it(method: str, path: str) -> None:
    body = {**INPUTS} if path.endswith("none") else {"messages": [{"role": "user", "content": "?"}]}
    async with serving(FakeService()) as client:
        response = await client.request(method, path, json=body if method == "POST" else None)

    message = "The model 'nobody/none' is not served here; GET /v1/models lists what is."
    assert (response.status_code, response.json()["error_type"]) == (404, "model_not_found")
    assert message in response.json()["error"]


async def test_the_pages_placeholder_body_is_answered_in_json() -> None:
    content = b'{"inputs": No input example has been defined for this model task.}'
    async with serving(FakeService()) as client:
        response = await client.post(MODEL_URL, content=content, headers=JSON)

    assert (response.status_code, response.headers["content-type"]) == (400, "application/json")
    assert response.json()["error_type"] == "invalid_json"
