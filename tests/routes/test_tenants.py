"""One customer's things are nobody else's: every route is tried with another caller's key."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from api.server.memory_budget import Reservation
from shared.api_keys import new_secret
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.batches import ENDPOINT, jsonl, line
from tests.support.clients import until_async
from tests.support.keys import ADMIN, KEYED, bearer, code_of, customer
from tests.support.openapi import operations

keyed = pytest.mark.parametrize("deployment", [KEYED], indirect=True)
MODEL = "sightline/tiny"
JOB = {"model": MODEL, "input": {"prompt": "What is this?"}}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "What is this?"}]}
OPEN = {"/health", "/ready"}
ROUTES = [
    *((method.upper(), path) for method, path, _ in operations()),
    ("GET", "/openapi.json"),
    ("GET", "/nothing/here"),
    ("POST", "/hf-inference/models/{id}"),
]


@keyed
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_route_answers_without_a_key(deployment: Deployment, method: str, path: str) -> None:
    said: list[dict[str, str]] = [
        {},
        bearer("hf_something"),
        bearer(new_secret()),
        {"authorization": f"Basic {ADMIN}"},
        {"authorization": ADMIN},
    ]
    async with client_of(deployment.app) as client:
        replies = [await client.request(method, path.replace("{id}", MODEL), headers=h) for h in said]

    for reply in replies:
        if path in OPEN:
            assert reply.status_code in (200, 503)
        else:
            assert (reply.status_code, code_of(reply)) == (401, "invalid_api_key")
            assert reply.headers["www-authenticate"] == "Bearer"


@keyed
@pytest.mark.usefixtures("untold")
@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[1] not in OPEN])
async def test_no_route_shows_or_changes_another_s(deployment: Deployment, method: str, path: str) -> None:
    deployment.worker.beat()
    async with (
        await customer(deployment.app, "owner") as owner,
        await customer(deployment.app, "other") as other,
    ):
        victim = (await owner.post("/v1/jobs", json=JOB, headers={"idempotency-key": "k"})).json()["id"]
        tried = next((each for prefix, each in FOREIGN.items() if path.startswith(prefix)), None)
        if tried is not None:
            await tried(Foreign(deployment, owner, other, victim), method, path)
        elif path.startswith("/v1/admin/") or path.endswith("/unload"):
            reply = await other.request(method, path.replace("{id}", MODEL))
            assert (reply.status_code, code_of(reply)) == (403, "insufficient_scope")
        elif method == "GET":
            # One that goes on is asked for no time.
            query = "?seconds=0" if path == "/v1/live" else ""
            reply = await other.get(path.replace("{id}", MODEL) + query)
            assert victim not in reply.text
        else:
            # Not valid for any door: it is refused before it would wait for an answer.
            reply = await other.request(method, path.replace("{id}", MODEL), json={"victim": victim})
            assert reply.status_code in (400, 404)
            assert reply.headers.get("x-job-id") is None


@dataclass
class Foreign:
    """A caller and another one, whose job is the `victim`."""

    deployment: Deployment
    owner: httpx.AsyncClient
    other: httpx.AsyncClient
    victim: str


async def _try_job(them: Foreign, method: str, path: str) -> None:
    before = (await them.owner.get(f"/v1/jobs/{them.victim}")).json()
    reply = await them.other.request(method, path.replace("{id}", them.victim))
    after = (await them.owner.get(f"/v1/jobs/{them.victim}")).json()
    assert (reply.status_code, reply.json()["code"]) == (404, "job_not_found")
    for job in (before, after):
        job.pop("estimate")
    assert after == before


async def _try_response(them: Foreign, method: str, path: str) -> None:
    said = {"model": MODEL, "input": "What is this?", "background": True}
    theirs = (await them.owner.post("/v1/responses", json=said)).json()["id"]
    own = f"/v1/responses/{theirs}"
    reply = await them.other.request(method, path.replace("/v1/responses/{id}", own))
    assert (reply.status_code, code_of(reply)) == (404, "response_not_found")
    assert (await them.owner.get(own)).json()["status"] == "queued"
    on = await them.other.post("/v1/responses", json=said | {"previous_response_id": theirs})
    assert (on.status_code, code_of(on)) == (404, "response_not_found")


async def _try_upload(them: Foreign, method: str, path: str) -> None:
    file, batch = await _uploaded(them.owner)
    own, code = (batch, "batch_not_found") if "batches" in path else (file, "file_not_found")
    before = (await them.owner.get(f"/v1/files/{file}")).json(), await _batch(them.owner, batch)
    reply = await them.other.request(method, path.replace("{id}", own))
    assert (reply.status_code, code_of(reply)) == (404, code)
    assert ((await them.owner.get(f"/v1/files/{file}")).json(), await _batch(them.owner, batch)) == before


FOREIGN: dict[str, Callable[[Foreign, str, str], Awaitable[None]]] = {
    "/v1/jobs/{id}": _try_job,
    "/v1/responses/{id}": _try_response,
    "/v1/files/{id}": _try_upload,
    "/v1/batches/{id}": _try_upload,
}


async def _uploaded(owner: httpx.AsyncClient) -> tuple[str, str]:
    """A file of a caller's and a batch over it."""
    upload: dict[str, Any] = {"files": {"file": jsonl([line("1")])}, "data": {"purpose": "batch"}}
    file = (await owner.post("/v1/files", **upload)).json()["id"]
    body = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h"}
    return file, (await owner.post("/v1/batches", json=body)).json()["id"]


async def _batch(owner: httpx.AsyncClient, id: str) -> dict[str, Any]:
    """What a batch shows once it was read, but when it ends: its line comes into the queue meanwhile."""

    async def begun() -> Any:
        seen = (await owner.get(f"/v1/batches/{id}")).json()
        return seen if seen["status"] != "validating" else False

    return {name: value for name, value in (await until_async(begun)).items() if name != "estimate"}


@keyed
async def test_idempotency_keys_answers_and_lists_are_each_callers_own(deployment: Deployment) -> None:
    deployment.worker.beat()
    key = {"idempotency-key": "k"}
    async with await customer(deployment.app, "one") as one, await customer(deployment.app, "two") as two:
        first = await one.post("/v1/jobs", json=JOB, headers=key)
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        second = await two.post("/v1/jobs", json=JOB, headers=key)
        again = await one.post("/v1/chat/completions", json=CHAT)
        lists = [(await client.get("/v1/jobs")).json()["data"] for client in (one, two)]
        after = await two.get("/v1/jobs", params={"after": first.json()["id"]})

    assert first.json()["id"] != second.json()["id"]
    assert second.headers["x-cache"] == "MISS"
    assert again.headers["x-cache"] == "HIT"
    assert [[job["id"] for job in jobs][-1] for jobs in lists] == [first.json()["id"], second.json()["id"]]
    assert len(lists[1]) == 1
    assert after.status_code == 404


@pytest.mark.parametrize("deployment", [KEYED | {"queue": {"share_answers": True}}], indirect=True)
async def test_answers_are_shared_between_callers_where_the_operator_says_so(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with await customer(deployment.app, "one") as one, await customer(deployment.app, "two") as two:
        first = await one.post("/v1/jobs", json=JOB)
        joined = await two.post("/v1/jobs", json=JOB)
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        hit = await two.post("/v1/chat/completions", json=CHAT)
        gone = await two.delete(f"/v1/jobs/{joined.json()['id']}")
        kept = await one.get(f"/v1/jobs/{first.json()['id']}")
        foreign = await two.get(f"/v1/jobs/{first.json()['id']}")

    assert [r.headers["x-cache"] for r in (first, joined, hit)] == ["MISS", "COALESCED", "HIT"]
    assert (gone.status_code, kept.json()["result"]["text"], foreign.status_code) == (204, "A cat.", 404)


@keyed
async def test_two_keys_of_one_caller_see_the_same_jobs(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one") as old, await customer(deployment.app, "one") as new:
        job = (await old.post("/v1/jobs", json=JOB)).json()
        assert (await new.get(job["urls"]["self"])).json()["id"] == job["id"]


@keyed
async def test_the_run_of_a_job_is_its_callers_down_to_the_engine(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with await customer(deployment.app, "one") as one:
        await one.post("/v1/jobs", json=JOB)
    assert deployment.worker.take().caller == "one", "what the engine keeps would serve others"


@keyed
async def test_each_caller_has_a_share_of_the_memory_for_large_requests(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders: list[str] = []

    async def take(reservation: Reservation, count: int) -> None:  # noqa: ARG001
        holders.append(reservation.caller)

    monkeypatch.setattr(Reservation, "take", take)
    deployment.worker.beat()
    async with await customer(deployment.app, "one") as one, await customer(deployment.app, "two") as two:
        holders.clear()
        for client in (one, two):
            await client.post("/v1/jobs", json=JOB)
    assert len(set(holders)) == 2
    assert "" not in holders
