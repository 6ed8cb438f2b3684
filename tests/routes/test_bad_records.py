"""An operator sees what fills the record store and which records are bad, and forgets those."""

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, data, posted
from tests.support.keys import ADMIN, KEYED, calling, customer
from tests.support.metrics import total

RECORDS = "/v1/admin/records"
JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "Tell."}], "stream": True}


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_a_bad_record_is_listed_with_its_reason_and_forgotten(deployment: Deployment) -> None:
    server = deployment.worker.store.client
    server.hset("sl9:bad", mapping={"job_0b": "it lacks lane", "calls:one": "WRONGTYPE"})
    async with await customer(deployment.app, "one") as one:
        assert (await one.get(RECORDS)).status_code == 403
        assert (await one.delete(f"{RECORDS}/job_0b")).status_code == 403
    async with calling(deployment.app, ADMIN) as operator:
        page = (await operator.get(RECORDS)).json()
        counted = total((await operator.get("/metrics")).text, "sightline_store_records_set_aside")
        replies = [await operator.delete(f"{RECORDS}/{id}") for id in ("job_0b", "calls:one", "job_0b")]
        left = (await operator.get(RECORDS)).json()["data"]
    assert (page["has_more"], counted) == (False, 2)
    assert [(row["id"], row["reason"]) for row in page["data"]] == [
        ("calls:one", "WRONGTYPE"),
        ("job_0b", "it lacks lane"),
    ]
    assert [reply.status_code for reply in replies] == [204] * 3
    assert left == []


async def test_forgetting_reaches_no_other_key(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()["id"]
        assert (await client.delete(f"{RECORDS}/{job}")).status_code == 204
        assert (await client.get(f"/v1/jobs/{job}")).status_code == 200


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_what_fills_the_store_is_said_and_names_of_callers_only_to_operators(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.headroom.MEMORY_LIFE_S", 0.0)
    monkeypatch.setattr("shared.store.headroom.CHARGES_LIFE_S", 0.0)
    deployment.worker.beat()
    async with (
        await customer(deployment.app, "hog-of-all") as hog,
        calling(deployment.app, ADMIN) as operator,
    ):
        await hog.post("/v1/jobs", json=JOB)
        with deployment.server.nearly_full():
            refused = await hog.post("/v1/jobs", json=JOB)
            ready = await operator.get("/ready")
            said = (await operator.get("/v1/admin/store")).json()
            assert (await hog.get("/v1/admin/store")).status_code == 403
        page = (await operator.get("/metrics")).text
        again = (await operator.get("/ready")).json()["memory"]
    memory = ready.json()["memory"]
    assert (refused.status_code, ready.status_code) == (503, 200)
    assert memory["full"]
    assert memory["records"] + memory["rest"] == memory["used"] > 16 * 2**20
    assert 0 < memory["records"] < memory["reserved"]
    assert not again["full"]
    (top,) = said["callers"]
    assert top["caller"] == "hog-of-all"
    assert top["bytes"] == memory["reserved"] + memory["records"]
    assert "hog-of-all" not in ready.text + page
    assert total(page, "sightline_store_memory_charged_bytes") == memory["records"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions"])
async def test_a_connected_reader_of_a_record_that_cannot_be_read_is_told_how_its_job_ended(
    deployment: Deployment, path: str
) -> None:
    worker = deployment.worker
    worker.beat()
    if path == "/v1/jobs":
        async with client_of(deployment.app) as client:
            job = (await client.post(path, json=JOB)).json()
        reader = Exchange(deployment.app, "GET", job["urls"]["events"]).start()
    else:
        reader = posted(deployment.app, CHAT, path)
    claim = await worker.taken()
    worker.say(claim, "The cat ")
    await reader.until(lambda e: b"The cat" in e.body)
    worker.store.client.hset(f"sl9:{claim.id}", "t", "{")
    worker.succeed(claim, "The cat sat.")
    await reader.finish()
    assert "internal_error" in str(data(reader.body)[-1])
