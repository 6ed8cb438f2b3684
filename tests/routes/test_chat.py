"""OpenAI's doors: whole answers, streams, and what becomes of a failure at each moment."""

import pytest

from tests.support.app import MODELS, serving
from tests.support.fake_service import FakeService, answering, failing

TURNS = [{"role": "user", "content": "What is this?"}]
CHAT = {"model": "sightline/tiny", "messages": TURNS}


@pytest.mark.parametrize(
    ("tier", "waits_as"),
    [(None, "normal"), ("scale", "normal"), ("flex", "batch"), ("fast", "interactive")],
)
async def test_a_service_tier_is_the_chat_s_place_in_line(tier: str | None, waits_as: str) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        await client.post("/v1/chat/completions", json={**CHAT, "service_tier": tier})

    assert [terms.priority for _, terms in service.asked] == [waits_as]


@pytest.mark.parametrize(
    ("path", "hf"),
    [("/v1/chat/completions", False), ("/models/org/other/v1/chat/completions", True)],
)
async def test_under_a_models_own_url_a_chat_is_hugging_faces_and_may_be_cached(path: str, hf: bool) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        await client.post(path, json={**CHAT, "model": "org/other"})

    assert [terms.reuse_sampled for _, terms in service.asked] == [hf]


async def test_no_name_is_not_enough_where_several_models_are_served() -> None:
    assert len(MODELS.rows) == 2
    async with serving(answering("A cat.")) as client:
        response = await client.post("/v1/chat/completions", json={"messages": TURNS})

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert "sightline/tiny, org/other" in response.json()["error"]["message"]


@pytest.mark.parametrize(("name", "word"), [("x-wait-for-model", "soon"), ("x-use-cache", "never")])
async def test_a_word_that_is_neither_true_nor_false_is_not_silently_ignored(name: str, word: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers={name: word})

    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, name, "invalid_request")
    assert error["message"].startswith(f"`{name}` should be a valid boolean")


async def test_an_answer_that_is_gone_before_its_waiting_caller_reads_it_is_no_fault_of_ours() -> None:
    service = FakeService()
    service.script = service.end_without_result
    async with serving(service) as client:
        reply = await client.post("/v1/chat/completions", json=CHAT)

    assert (reply.status_code, reply.json()["error"]["code"]) == (410, "result_expired")


async def test_an_error_code_of_a_newer_worker_is_still_an_answer() -> None:
    async with serving(failing(code="from_the_future")) as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")


async def test_the_metadata_of_a_chat_is_found_on_its_job() -> None:
    async with serving(answering("A cat.")) as client:
        chat = await client.post("/v1/chat/completions", json={**CHAT, "metadata": {"shop": "7"}})
        job = await client.get(f"/v1/jobs/{chat.headers['x-job-id']}")

    assert job.json()["metadata"] == {"shop": "7"}
