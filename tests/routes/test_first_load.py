"""A model that nothing was ever measured of: what callers are told to expect."""

from tests.routes.conftest import BARE_BYTES, Deployment
from tests.support.app import client_of

SLOW_DISK = 100_000_000
INPUTS = {"inputs": "A cat is"}


async def test_a_job_and_a_refusal_expect_the_same_first_load(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        job = await client.post("/models/org/bare", json=INPUTS, headers={"prefer": "respond-async"})
        refused = await client.post("/models/org/bare", json=INPUTS)

    assert refused.json()["basis"] == job.json()["estimate"]["basis"] == "guess"
    assert refused.json()["estimated_time"] >= BARE_BYTES / SLOW_DISK
    # And at least the time of its own answer.
    assert job.json()["estimate"]["p50"] > refused.json()["estimated_time"]


async def test_what_a_worker_said_is_not_overwritten_by_a_guess(deployment: Deployment) -> None:
    deployment.worker.beat("loading", load_guess_ms="40000", load_basis="read_rate")
    async with client_of(deployment.app) as client:
        job = (
            await client.post("/v1/jobs", json={"input": {"prompt": "?"}, "model": "sightline/tiny"})
        ).json()

    assert (job["estimate"]["basis"], job["estimate"]["p50"] >= 40) == ("read_rate", True)
