"""Our own wire, door by door."""

from typing import Any

import pytest

from api.jobs.waiting import Over
from shared.job import JobView
from tests.support.app import serving
from tests.support.fake_service import FakeService, answering
from tests.support.jobs import FIRST, QUESTION, QUEUED, SUCCEEDED

HF = "/models/sightline/tiny"


def at_once(service: FakeService, text: str = "A cat.") -> FakeService:
    """Every job ends as it is submitted: a cache hit's timing."""
    service.script = lambda job: service.succeed(job, text)
    return service


@pytest.mark.parametrize(
    "prefer",
    ["wait", "respond-async, wait=10", "wait=10; a=b, c", 'wait="10"', "WAIT = 10", "wait=" + "9" * 5000],
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


async def test_what_is_said_around_a_job_reaches_the_door() -> None:
    service = FakeService()
    body = {**QUESTION, "metadata": {"album": "7"}, "priority": "batch"}
    headers = {"idempotency-key": "k-1", "x-use-cache": "false"}
    async with serving(service) as client:
        await client.post("/v1/jobs", json=body, headers=headers)

    _, terms = service.asked[0]
    assert (terms.caller.id, terms.metadata) == ("local", {"album": "7"})
    assert (terms.priority, terms.must_be_ready) == ("batch", False)
    assert (terms.use_cache, terms.reuse_sampled) == (False, False)
    assert terms.idempotency is not None
    assert terms.idempotency.key == "k-1"


async def test_an_idempotency_key_is_compared_on_the_bytes_received_and_with_the_door() -> None:
    service, body = answering("A cat."), b'{"inputs":"What is this?"}'
    key = {"idempotency-key": "k-1"}
    async with serving(service) as client:
        for path, content in (("/v1", body), ("/v1", body), ("/v1", body + b" "), (HF, body)):
            await client.post(path, content=content, headers=key)

    first, same, *others = [terms.idempotency.body_digest for _, terms in service.asked if terms.idempotency]
    assert first == same
    assert len({first, *others}) == 3


async def test_a_key_too_long_to_keep_is_refused() -> None:
    async with serving(FakeService()) as client:
        fits = await client.post("/v1/jobs", json=QUESTION, headers={"idempotency-key": "k" * 255})
        response = await client.post("/v1/jobs", json=QUESTION, headers={"idempotency-key": "k" * 256})

    assert (fits.status_code, response.status_code, response.json()["param"]) == (202, 400, "Idempotency-Key")


async def test_every_token_is_the_same_caller_while_no_key_is_configured() -> None:
    async with serving(FakeService()) as client:
        await client.post("/v1/jobs", json=QUESTION)
        for token in ("Bearer: hf_x", "hf_x", ""):
            response = await client.get(f"/v1/jobs/{FIRST}", headers={"authorization": token})
            assert (response.status_code, response.json()) == (200, QUEUED)


async def test_a_list_can_be_walked_to_its_end() -> None:
    async with serving(FakeService()) as client:
        for _ in range(3):
            await client.post("/v1/jobs", json=QUESTION)
        first = (await client.get("/v1/jobs", params={"limit": 2})).json()
        second = (await client.get("/v1/jobs", params={"limit": 2, "after": first["last_id"]})).json()

    assert ([j["id"][-1] for j in first["data"]], first["has_more"]) == (["3", "2"], True)
    page = {"first_id": FIRST, "last_id": FIRST, "next": None, "has_more": False}
    assert second == {"object": "list", "data": [QUEUED], **page}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "many"),
        ("limit", "-1"),
        ("created_after", "yesterday"),
        ("created_before", "-1"),
        ("created_before", "nan"),
        ("metadata", "=7"),
        ("metadata", ["album=7", "album=8"]),
        ("metadata", [f"{n}=x" for n in range(17)]),
    ],
)
async def test_a_bad_list_query_names_itself(name: str, value: Any) -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/v1/jobs", params={name: value})

    assert (response.status_code, response.json()["param"]) == (400, name)
