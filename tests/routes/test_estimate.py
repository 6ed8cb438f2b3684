"""POST /v1/estimate over the real store: it says what a submit then does, and leaves nothing behind."""

import base64
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from api.auth.middleware import FORECAST_BYTES
from shared.tokens import TokenRule
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.keys import ADMIN, KEYED, bearer

JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
RULE = TokenRule(bytes_per_token=4, template=7, turn=0, sides=(), pictures=((64,),))


def picture(width: int, height: int) -> str:
    file = BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


async def told(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    reply = await client.post("/v1/estimate", json=JOB | more)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def kept(deployment: Deployment) -> set[str]:
    """All keys but those that say how models and workers are."""
    names = deployment.worker.store.client.keys("*")
    return {name for name in names if not name.startswith(("sl9:lane:", "sl9:ready:", "sl9:prints:"))}


async def test_an_estimate_says_all_that_a_job_would_show_and_what_it_costs(deployment: Deployment) -> None:
    deployment.worker.beat(token_rule=RULE.dumped(), context_length="4096", service_ms="2000")
    async with client_of(deployment.app) as client:
        found = await told(client, input={"prompt": "x" * 40, "images": [picture(8, 8), picture(9, 9)]})
        job = (await client.post("/v1/jobs", json=JOB)).json()

    assert found.pop("estimate") == job["estimate"]
    assert found == {
        "object": "estimate",
        "model": "sightline/tiny",
        "outcome": "queued",
        "cache": "MISS",
        "tokens": {
            "prompt": 7 + 10 + 128,
            "image": 128,
            "pictures": [64, 64],
            "picture_sizes": [{"width": side, "height": side, "tokens": 64} for side in (8, 9)],
            "basis": "measured",
            "answer_at_most": 512,
            "context_length": 4096,
        },
        "waiting_reason": "busy",
        "ahead": 0,
        "cost": {"requests": 1, "places": 1, "turn": 564},
    }


@pytest.mark.usefixtures("untold")
async def test_an_estimate_leaves_nothing_behind(deployment: Deployment) -> None:
    deployment.worker.beat()
    before = kept(deployment)
    async with client_of(deployment.app) as client:
        for more in (
            {"input": {"prompt": "a", "image": picture(8, 8)}},
            {"input": {"prompt": "a", "image": "https://example.org/a.png"}},
            {"metadata": {"shop": "7"}, "store": False},
        ):
            await client.post("/v1/estimate", json=JOB | more, headers={"idempotency-key": "k"})
        after, listed = kept(deployment), (await client.get("/v1/jobs")).json()["data"]
        first = await client.post("/v1/jobs", json=JOB, headers={"idempotency-key": "k"})

    assert (after, listed) == (before, [])
    assert first.status_code == 202, "an estimate used the key"


async def test_who_joins_a_run_of_a_lower_class_is_told_that_it_goes_up(deployment: Deployment) -> None:
    deployment.worker.beat(service_ms="2000")
    async with client_of(deployment.app) as client:
        await client.post("/v1/jobs", json=JOB | {"input": {"prompt": "before"}})
        await client.post("/v1/jobs", json=JOB | {"priority": "batch"})
        found = {name: await told(client, priority=name) for name in ("batch", "interactive")}
        job = (await client.post("/v1/jobs", json=JOB | {"priority": "interactive"})).json()

    assert [found[name]["outcome"] for name in found] == ["joined", "joined"]
    assert (found["batch"]["ahead"], found["interactive"]["ahead"], job["ahead"]) == (1, 0, 0)
    assert found["interactive"]["estimate"] == job["estimate"]


async def test_who_would_be_refused_is_told_so_and_when_to_come_back(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        for place in range(3):
            await client.post("/v1/jobs", json=JOB | {"input": {"prompt": str(place)}})
        found = await told(client)
        refused = await client.post("/v1/jobs", json=JOB)

    assert found["outcome"] == "refused"
    assert found["cost"] == {"requests": 1, "places": 0, "turn": 0}
    assert found["refusal"] == {
        "status": refused.status_code,
        "code": refused.json()["code"],
        "detail": refused.json()["detail"],
        "retryable": True,
        "retry_after": int(refused.headers["retry-after"]),
    }


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_an_estimate_costs_no_question_unless_it_is_large(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        body = {"name": "Example Ltd", "requests_per_minute": 2}
        key = (await client.post("/v1/admin/keys", json=body, headers=bearer(ADMIN))).json()["secret"]
        answers = [await client.post("/v1/estimate", json=JOB, headers=bearer(key)) for _ in range(3)]
        submitted = await client.post("/v1/jobs", json=JOB, headers=bearer(key))
        large = await client.post("/v1/estimate", content=bytes(FORECAST_BYTES + 1), headers=bearer(key))

    assert large.headers["ratelimit"][:14] == '"requests";r=0'
    assert {answer.status_code for answer in answers} == {200}
    assert (submitted.status_code, submitted.headers["ratelimit"][:14]) == (202, '"requests";r=1')


async def test_many_rows_are_foretold_as_the_last_of_them(deployment: Deployment) -> None:
    deployment.worker.beat(service_ms="2000")
    async with client_of(deployment.app) as client:
        one = await told(client)
        many = (await client.post("/v1/estimate?rows=500", json=JOB)).json()
        wrong = await client.post("/v1/estimate?rows=none", json=JOB)

    assert many["ahead"] == one["ahead"] + 499
    assert many["estimate"]["p50"] > 100 * one["estimate"]["p50"]
    assert (wrong.status_code, wrong.json()["param"]) == (400, "rows")
