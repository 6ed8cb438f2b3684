"""Our own wire, door by door."""

import json
from typing import Any

import pytest

from api.jobs.waiting import Over
from shared.cache_key import request_hash
from shared.job import JobView
from tests.support.app import application, serving
from tests.support.asgi_exchange import Exchange
from tests.support.fake_service import FakeService, answering
from tests.support.jobs import FIRST, QUESTION, QUEUED, SUCCEEDED


def at_once(service: FakeService, text: str = "A cat.") -> FakeService:
    """Every job ends as it is submitted: a cache hit's timing."""
    service.script = lambda job: service.succeed(job, text)
    return service


async def test_a_submitted_job_is_accepted_with_its_address() -> None:
    async with serving(FakeService()) as client:
        response = await client.post("/v1/jobs", json=QUESTION)

    assert (response.status_code, response.json()) == (202, QUEUED)
    assert response.headers["location"] == f"/v1/jobs/{FIRST}"
    assert response.headers["retry-after"] == "1"
    assert (response.headers["x-job-id"], response.headers["x-cache"]) == (FIRST, "MISS")


async def test_a_cache_hit_is_accepted_already_answered() -> None:
    service = at_once(FakeService())
    service.cache = "HIT"
    async with serving(service) as client:
        response = await client.post("/v1/jobs", json=QUESTION)

    assert (response.status_code, response.json()) == (202, {**SUCCEEDED, "cache": "HIT"})
    assert response.headers["x-cache"] == "HIT"


@pytest.mark.parametrize(
    "prefer",
    [
        "wait=10",
        "wait",
        "respond-async, wait=10",
        "wait=10; a=b, c",
        'wait="10"',
        "WAIT = 10",
        "wait=" + "9" * 5000,
    ],
)
async def test_a_caller_who_waits_gets_the_ended_job(prefer: str) -> None:
    async with serving(at_once(FakeService())) as client:
        response = await client.post("/v1/jobs", json=QUESTION, headers={"prefer": prefer})

    assert (response.status_code, response.json()) == (200, SUCCEEDED)
    named = {n: response.headers[n] for n in ("x-job-id", "x-cache", "x-compute-time", "x-queue-time")}
    assert named == {"x-job-id": FIRST, "x-cache": "MISS", "x-compute-time": "0.250", "x-queue-time": "1.250"}


@pytest.mark.parametrize("limit", ["99999999999999999", "9" * 5000, "0" * 5000 + "7"])
async def test_a_limit_beyond_all_counting_is_the_largest_page(limit: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/v1/jobs", params={"limit": limit})

    assert response.status_code == 200, response.text


async def test_no_caller_s_wait_outlasts_the_service_s_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    service, limits = at_once(FakeService()), list[float]()
    waited = service.until_ended

    async def noted(view: JobView, timeout_s: float, over: Over) -> JobView:
        limits.append(timeout_s)
        return await waited(view, timeout_s, over)

    monkeypatch.setattr(service, "until_ended", noted)
    async with serving(service, sync_limit_s=30) as client:
        for wait in ("wait=100", "wait=20"):
            await client.post("/v1/jobs", json=QUESTION, headers={"prefer": wait})

    assert limits == [30, 20]


async def test_a_wait_that_ends_first_leaves_the_job_accepted() -> None:
    async with serving(FakeService(), sync_limit_s=0.01) as client:
        response = await client.post("/v1/jobs", json=QUESTION, headers={"prefer": "wait=100"})

    assert (response.status_code, response.json()) == (202, QUEUED)


@pytest.mark.parametrize("prefer", ["wait=0", "wait=x", "wait=-1", "return=minimal", ""])
async def test_a_preference_not_understood_is_ignored(prefer: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.post("/v1/jobs", json=QUESTION, headers={"prefer": prefer})

    assert response.status_code == 202


async def test_a_job_is_never_refused_for_a_model_that_is_not_ready() -> None:
    service = FakeService()
    async with serving(service) as client:
        await client.post("/v1/jobs", json=QUESTION)

    assert [terms.schedule.must_be_ready for _, terms in service.asked] == [False]


async def test_what_is_said_around_a_job_reaches_the_door() -> None:
    service = FakeService()
    body = {**QUESTION, "metadata": {"album": "7"}, "priority": "batch"}
    headers = {"idempotency-key": "k-1", "x-use-cache": "false"}
    async with serving(service) as client:
        await client.post("/v1/jobs", json=body, headers=headers)

    _, terms = service.asked[0]
    assert (terms.caller.id, terms.metadata) == ("local", {"album": "7"})
    assert (terms.schedule.priority, terms.caching.use_cache, terms.caching.reuse_sampled) == (
        "batch",
        False,
        False,
    )
    assert terms.idempotency is not None
    assert terms.idempotency.key == "k-1"


async def test_an_idempotency_key_is_compared_on_the_bytes_received() -> None:
    service = FakeService()
    key = {"idempotency-key": "k-1"}
    async with serving(service) as client:
        for content in (
            b'{"input":{"prompt":"a"}}',
            b'{"input":{"prompt":"a"}}',
            b'{"input":{"prompt":"a"} }',
        ):
            await client.post(
                "/v1/jobs", content=content.replace(b"{", b'{"model":"sightline/tiny",', 1), headers=key
            )

    first, same, other = [terms.idempotency.body_digest for _, terms in service.asked if terms.idempotency]
    assert first == same != other
    assert len(first) == 64


async def test_a_key_too_long_to_keep_is_refused() -> None:
    async with serving(FakeService()) as client:
        fits = await client.post("/v1/jobs", json=QUESTION, headers={"idempotency-key": "k" * 255})
        response = await client.post("/v1/jobs", json=QUESTION, headers={"idempotency-key": "k" * 256})

    assert (fits.status_code, response.status_code, response.json()["param"]) == (202, 400, "Idempotency-Key")


@pytest.mark.parametrize("token", ["Bearer hf_x", "Bearer: hf_x", "hf_x", ""])
async def test_every_token_is_the_same_caller_while_no_key_is_configured(token: str) -> None:
    service = FakeService()
    async with serving(service) as client:
        await client.post("/v1/jobs", json=QUESTION)
        response = await client.get(f"/v1/jobs/{FIRST}", headers={"authorization": token})

    assert (response.status_code, response.json()) == (200, QUEUED)


async def test_the_same_question_is_one_request_whichever_door_it_came_by() -> None:
    service = at_once(FakeService())
    turns = [{"role": "user", "content": "What is this?"}]
    async with serving(service) as client:
        await client.post("/v1/jobs", json=QUESTION)
        await client.post("/v1/jobs", json={"model": "sightline/tiny:hf-inference", "messages": turns})
        for path in ("/v1/chat/completions", "/models/sightline/tiny/v1/chat/completions"):
            await client.post(path, json={"model": "sightline/tiny", "messages": turns})

    assert len({request_hash(request, "main") for request, _ in service.asked}) == 1


async def test_a_long_poll_answers_as_soon_as_the_job_ends() -> None:
    service = FakeService()
    async with application(service) as app:
        await Exchange(app, "POST", "/v1/jobs", chunks=(json.dumps(QUESTION).encode(),)).start().finish()
        poll = Exchange(app, "GET", f"/v1/jobs/{FIRST}?wait=60").start()
        service.run(FIRST)
        service.succeed(FIRST, "A cat.")
        await poll.finish()

    answer = json.loads(poll.body)
    assert (poll.status, answer["status"], answer["started_at"]) == (200, "succeeded", 1760000000.5)
    assert "retry-after" not in poll.headers


@pytest.mark.parametrize("wait", ["x", "-1", "1.5", ""])
async def test_a_wait_that_is_no_number_is_refused(wait: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.get(f"/v1/jobs/{FIRST}", params={"wait": wait})

    assert (response.status_code, response.json()["param"]) == (400, "wait")


async def test_a_failed_job_says_why() -> None:
    service = FakeService()
    service.script = service.fail
    async with serving(service) as client:
        await client.post("/v1/jobs", json=QUESTION)
        response = await client.get(f"/v1/jobs/{FIRST}")

    error = {
        "code": "invalid_image",
        "message": "The picture is broken.",
        "param": "messages.0",
        "retryable": False,
    }
    assert (response.status_code, response.json()["status"], response.json()["error"]) == (
        200,
        "failed",
        error,
    )


async def test_cancel_is_harmless_twice_and_after_the_end() -> None:
    service = FakeService()
    async with serving(service) as client:
        await client.post("/v1/jobs", json=QUESTION)
        answers = [await client.post(f"/v1/jobs/{FIRST}/cancel", json={}) for _ in range(2)]

    assert [(a.status_code, a.json()["status"]) for a in answers] == [(200, "cancelled")] * 2


async def test_a_deleted_job_is_gone() -> None:
    async with serving(FakeService()) as client:
        await client.post("/v1/jobs", json=QUESTION)
        deleted = await client.delete(f"/v1/jobs/{FIRST}")
        response = await client.get(f"/v1/jobs/{FIRST}")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (response.status_code, response.json()["code"]) == (404, "job_not_found")


async def test_a_list_can_be_walked_to_its_end() -> None:
    async with serving(FakeService()) as client:
        for _ in range(3):
            await client.post("/v1/jobs", json=QUESTION)
        first = (await client.get("/v1/jobs", params={"limit": 2})).json()
        second = (await client.get("/v1/jobs", params={"limit": 2, "after": first["last_id"]})).json()

    assert ([j["id"][-1] for j in first["data"]], first["has_more"]) == (["3", "2"], True)
    assert second == {
        "object": "list",
        "data": [QUEUED],
        "first_id": FIRST,
        "last_id": FIRST,
        "next": None,
        "has_more": False,
    }


async def test_a_list_can_be_narrowed() -> None:
    async with serving(FakeService()) as client:
        await client.post("/v1/jobs", json=QUESTION)
        await client.post(f"/v1/jobs/{FIRST}/cancel")
        await client.post("/v1/jobs", json={**QUESTION, "model": "org/other"})
        by_status = (await client.get("/v1/jobs", params={"status": "cancelled"})).json()
        by_model = (await client.get("/v1/jobs", params={"model": "org/other"})).json()

    assert [j["id"] for j in by_status["data"]] == [FIRST]
    assert [j["model"] for j in by_model["data"]] == ["org/other"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "many"),
        ("limit", "-1"),
        ("status", "done"),
        ("priority", "urgent"),
        ("created_after", "yesterday"),
        ("created_before", "-1"),
        ("created_before", "nan"),
        ("metadata", "album"),
        ("metadata", "=7"),
        ("metadata", ["album=7", "album=8"]),
        ("metadata", [f"{n}=x" for n in range(17)]),
    ],
)
async def test_a_bad_list_query_names_itself(name: str, value: Any) -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/v1/jobs", params={name: value})

    assert (response.status_code, response.json()["param"]) == (400, name)


async def test_a_key_is_compared_with_the_door_it_came_by() -> None:
    service = answering("A cat.")
    key = {"idempotency-key": "k-1"}
    async with serving(service) as client:
        for door in ("/models/sightline/tiny", "/v1"):
            await client.post(door, json={"inputs": "What is this?"}, headers=key)

    first, other = [terms.idempotency.body_digest for _, terms in service.asked if terms.idempotency]
    assert first != other
