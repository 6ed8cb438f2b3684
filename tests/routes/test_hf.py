"""Hugging Face's doors, as its clients knock."""

import json
from typing import Any

import pytest

from shared.request import Image, Text
from tests.support.app import application, serving
from tests.support.asgi_exchange import data, posted
from tests.support.fake_service import FakeService, answering

FIRST = "job_00000000000000000000000000000001"
INPUTS = {"inputs": "What is this?"}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
JS = "@huggingface/inference/4.13.30 Node.js/22"
MODEL_URL = "/models/sightline/tiny"


@pytest.mark.parametrize("path", ["/hf-inference" + MODEL_URL, "/", "/v1/"])
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
async def test_a_pictures_bytes_are_a_question_by_any_name(
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


@pytest.mark.parametrize(
    ("header", "options", "used"),
    [
        (None, {}, True),
        ("true", {"use_cache": True}, True),
        ("FALSE", {}, False),
        ("0", {}, False),
        (None, {"use_cache": False}, False),
    ],
)
async def test_the_cache_can_be_declined(header: str | None, options: dict[str, bool], used: bool) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        headers = {} if header is None else {"x-use-cache": header}
        await client.post(MODEL_URL, json={**INPUTS, "options": options}, headers=headers)

    assert [(terms.use_cache, terms.reuse_sampled) for _, terms in service.asked] == [(used, True)]


@pytest.mark.parametrize(
    ("headers", "options", "refused"),
    [
        ({}, {}, True),
        ({"x-wait-for-model": "TRUE"}, {}, False),
        ({"x-wait-for-model": "FALSE"}, {}, True),
        ({}, {"wait_for_model": True}, False),
    ],
)
async def test_waiting_for_a_model_can_be_asked_in_header_and_body(
    headers: dict[str, str], options: dict[str, bool], refused: bool
) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        await client.post(MODEL_URL, json={**INPUTS, "options": options}, headers=headers)

    assert [terms.must_be_ready for _, terms in service.asked] == [refused]


async def test_an_asynchronous_caller_never_leaves() -> None:
    service = FakeService()
    async with application(service) as app:
        call = posted(app, INPUTS, MODEL_URL, prefer="respond-async")
        await call.finish()
        call.hang_up()

    assert (json.loads(call.body)["status"], service.views[FIRST].status) == ("queued", "queued")


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
