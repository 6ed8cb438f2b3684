"""POST /v1/jobs/{id}/retry over the real store: the same question again, whatever became of the first try."""

import pytest

from api.jobs.service import Jobs
from api.openapi.examples import PICTURE
from shared.job import JobRequest
from tests.routes.conftest import Deployment
from tests.support.app import client_of

ABOUT_PICTURE = {
    "model": "sightline/tiny",
    "input": {"prompt": "What is this?", "image": PICTURE},
    "metadata": {"album": "7"},
    "priority": "batch",
}
JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
BARE = "/models/org/bare"


async def test_a_retry_asks_the_same_of_the_same_pictures(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        first = (await client.post("/v1/jobs", json=ABOUT_PICTURE)).json()
        claim = deployment.worker.take()
        deployment.worker.fail(claim, "attempts_exhausted", "It failed three times.")
        again = (await client.post(first["urls"]["retry"])).json()
        second = deployment.worker.take()

    assert second.request == claim.request
    assert (again["retry_of"], again["metadata"], again["priority"]) == (first["id"], {"album": "7"}, "batch")
    assert again["id"] != first["id"]


async def test_a_retry_s_error_names_the_field_of_the_first_body(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        url = (await client.post("/v1/jobs", json=ABOUT_PICTURE)).json()["urls"]["self"]
        for _ in range(2):
            deployment.worker.fail(
                deployment.worker.take(), "invalid_image", "It is broken.", param="images[0]"
            )
            ended = (await client.get(url)).json()
            assert ended["error"]["param"] == "input.image"
            url = (await client.post(ended["urls"]["retry"])).json()["urls"]["self"]


async def test_a_retry_whose_reply_was_lost_is_found_by_its_key(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        first = (await client.post("/v1/jobs", json=JOB)).json()
        await client.post(first["urls"]["cancel"])
        sent = await client.post(first["urls"]["retry"], headers={"idempotency-key": "again"})
        await client.delete(first["urls"]["self"])
        again = await client.post(first["urls"]["retry"], headers={"idempotency-key": "again"})
        other = await client.post(first["urls"]["retry"], headers={"idempotency-key": "other"})

    assert (again.status_code, again.json()["id"]) == (202, sent.json()["id"])
    assert again.headers["x-job-id"] == sent.json()["id"]
    assert other.status_code == 404


async def test_a_retry_that_meets_the_deletion_of_the_old_job_is_404_and_asks_nothing(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = Jobs.ended_request

    async def deleted_then(jobs: Jobs, caller: str, job: str) -> JobRequest:
        asked = await question(jobs, caller, job)
        await jobs.purge(caller, job)
        return asked

    monkeypatch.setattr(Jobs, "ended_request", deleted_then)
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        first = (await client.post("/v1/jobs", json=JOB)).json()
        await client.post(first["urls"]["cancel"])
        again = await client.post(first["urls"]["retry"])
        left = (await client.get("/v1/jobs")).json()["data"]

    assert (again.status_code, again.json()["code"], left) == (404, "job_not_found", [])


async def test_a_job_cancelled_while_its_picture_was_fetched_is_retried(deployment: Deployment) -> None:
    deployment.worker.beat()
    body = JOB | {"input": {"prompt": "What is this?", "image": "https://example.com/a.png"}}
    async with client_of(deployment.app) as client:
        first = (await client.post("/v1/jobs", json=body)).json()
        await client.post(first["urls"]["cancel"])
        again = (await client.post(first["urls"]["retry"])).json()
        deployment.worker.take_in()
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        done = (await client.get(again["urls"]["self"])).json()

    assert (again["waiting_reason"], again["retry_of"]) == ("fetching_inputs", first["id"])
    assert done["status"] == "succeeded"


async def test_retry_has_no_finish_by_of_the_first_job(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        # By the store's clock.
        soon = int(deployment.worker.store.client.time()[0]) + 3600
        first = (await client.post("/v1/jobs", json=JOB | {"finish_by": soon})).json()
        await client.post(first["urls"]["cancel"])
        again = (await client.post(first["urls"]["retry"])).json()

    assert first["finish_by"] == soon
    assert "finish_by" not in again


async def test_a_question_to_a_model_without_a_chat_template_can_be_retried(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        asked = await client.post(BARE, json={"inputs": "A cat is"}, headers={"prefer": "respond-async"})
        await client.post(asked.json()["urls"]["cancel"])
        again = await client.post(asked.json()["urls"]["retry"])

    assert (asked.status_code, again.status_code) == (202, 202), again.text


async def test_a_retry_whose_picture_is_no_longer_kept_is_410(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        first = (await client.post("/v1/jobs", json=ABOUT_PICTURE)).json()
        deployment.worker.fail(deployment.worker.take(), "invalid_image", "It is broken.")
        # As at the end of `retention.result_s`.
        deployment.worker.store.client.delete(*deployment.worker.store.client.keys("sl9:blob*"))
        again = await client.post(first["urls"]["retry"])

    assert (again.status_code, again.json()["code"]) == (410, "result_expired")
