"""Which models there are and how they stand."""

import asyncio
from dataclasses import replace

import pytest

from api.dialects.native.models import ModelState, to_model
from api.jobs.service import Jobs
from api.routes import models
from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.estimate import ReuseCounts
from shared.models import Model
from shared.settings import Settings
from tests.routes.conftest import Deployment
from tests.support.app import client_of, serving
from tests.support.fake_service import IDLE, NO_WORKER, FakeService

DOCUMENTS = {"max_document_mb": 50, "max_document_pages": 1000}
LIMITS = {"max_pictures": 256, "max_picture_mb": 50, "max_body_mb": Settings().api.body_mb, **DOCUMENTS}
TINY = {"id": "sightline/tiny", "object": "model", "created": 0, "owned_by": "sightline", **LIMITS}
OTHER = {"id": "org/other", "object": "model", "created": 0, "owned_by": "org", **LIMITS}
FAILED = ModelState(
    replace(IDLE, loading=1, failed="out of memory"),
    estimated_time=1.0,
    basis="guess",
)
LOADING = ModelState(replace(IDLE, loading=1), estimated_time=3.5, basis="measured")
BLOBS = {"kind": "folder", "state": "reachable"}


async def test_the_models_are_listed_with_the_default_first() -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/v1/models")

    assert (response.status_code, response.json()) == (200, {"object": "list", "data": [TINY, OTHER]})


@pytest.mark.parametrize("name", ["org/other", "org/other:hf-inference", "org%2Fother"])
async def test_a_model_is_found_with_its_slash_as_it_is(name: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.get(f"/v1/models/{name}")

    assert (response.status_code, response.json()) == (200, OTHER)


def test_vllms_clients_read_how_long_a_prompt_may_be_where_the_row_says_it() -> None:
    assert to_model(Model(id="org/other", engine="echo", context_length=2048), Settings()) == {
        **OTHER,
        "max_model_len": 2048,
    }


async def test_vllms_clients_read_how_long_a_prompt_may_be_where_only_a_worker_knows(
    deployment: Deployment,
) -> None:
    deployment.worker.beat(context_length="4096")
    async with client_of(deployment.app) as client:
        tiny, *_ = (await client.get("/v1/models")).json()["data"]
        one = (await client.get("/v1/models/sightline/tiny")).json()
    assert tiny["max_model_len"] == one["max_model_len"] == 4096


def test_vllms_clients_read_how_long_a_prompt_may_be_before_anything_has_loaded() -> None:
    told = to_model(Model(id="org/other", source="models/tiny"), Settings())
    assert told["max_model_len"] == 2048


async def test_callers_read_what_their_pictures_are_shrunk_to_where_they_are(deployment: Deployment) -> None:
    seen = []
    async with client_of(deployment.app) as client:
        for side in ("", "1280"):
            deployment.worker.beat(max_side=side)
            one = (await client.get("/v1/models/sightline/tiny")).json()
            seen.append(one.get("max_side"))
    assert seen == [None, 1280]


async def test_the_models_are_listed_while_the_record_store_is_away() -> None:
    service = FakeService()
    service.lose_store()
    async with serving(service) as client:
        assert (await client.get("/v1/models")).json()["data"] == [TINY, OTHER]
        assert (await client.get("/v1/models/org/other")).json() == OTHER


async def test_the_models_are_listed_while_the_record_store_does_not_answer(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(models, "FLEET_LIMIT_S", 0.01)
    monkeypatch.setattr(Jobs, "fleet", never)
    async with client_of(deployment.app) as client:
        found = (await client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in found] == ["sightline/tiny", "org/bare"]


async def test_an_unknown_model_is_an_openai_404() -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/v1/models/nobody/none")

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "path", ["/models/org/other", "/models/org/other/info", "/hf-inference/models/org/other"]
)
async def test_the_information_of_a_model_says_how_it_stands(path: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.get(path)

    assert (response.status_code, response.json()) == (
        200,
        {
            "model_id": "org/other",
            "model_sha": "abc",
            "model_dtype": "auto",
            "model_device_type": "auto",
            "state": "no_worker",
            "workers": 0,
            "queued": 2,
            "estimated_time": 7.5,
            "basis": "guess",
        },
    )


@pytest.mark.parametrize(
    ("name", "loaded", "state"), [("sightline/tiny", True, "Loaded"), ("org/other", False, "Loadable")]
)
async def test_the_status_of_a_model_is_in_the_words_of_the_former_api(
    name: str, loaded: bool, state: str
) -> None:
    async with serving(FakeService()) as client:
        response = await client.get(f"/status/{name}")

    assert (response.status_code, response.json()["loaded"], response.json()["state"]) == (200, loaded, state)


async def test_the_status_of_a_model_says_what_its_requests_had_in_common() -> None:
    service = FakeService()
    reused = {"prompts": 3, "hits": 2, "cached_tokens": 70, "bytes": 4096}
    service.states["sightline/tiny"] = replace(
        LOADING, lane=replace(LOADING.lane, reused=ReuseCounts(**reused))
    )
    async with serving(service) as client:
        assert (await client.get("/status/sightline/tiny")).json()["reused"] == reused
        assert (await client.get("/status/org/other")).json()["reused"] is None


@pytest.mark.parametrize(
    ("state", "status", "kind", "headers"),
    [
        (LOADING, 503, "model_loading", {"retry-after": "4"}),
        (NO_WORKER, 503, "no_worker", {"retry-after": "8"}),
        (FAILED, 500, "model_failed", {"x-should-retry": "false"}),
    ],
)
async def test_the_health_of_a_model_that_is_not_ready_says_when_to_come_back(
    state: ModelState, status: int, kind: str, headers: dict[str, str]
) -> None:
    service = FakeService()
    service.states["sightline/tiny"] = state
    async with serving(service) as client:
        response = await client.get("/models/sightline/tiny/health")

    assert (response.status_code, response.json()["error_type"]) == (status, kind)
    assert response.json().get("estimated_time") == (None if status == 500 else state.estimated_time)
    assert {name: response.headers[name] for name in headers} == headers


async def test_the_health_of_a_loaded_model_is_200() -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/models/sightline/tiny/health")

    assert (response.status_code, response.json()) == (200, {"status": "ready"})


async def test_the_process_is_healthy_while_it_serves_even_without_its_store() -> None:
    service = FakeService()
    async with serving(service) as client:
        whole = await client.get("/health")
        service.refusal = Unavailable("store_unavailable", "No store.")
        broken = await client.get("/health")

    assert (whole.status_code, whole.json()) == (200, {"status": "ok", "store": "reachable", "blobs": BLOBS})
    unreachable = {"status": "ok", "store": "unreachable", "blobs": BLOBS}
    assert (broken.status_code, broken.json()) == (200, unreachable)


async def test_a_probe_does_not_wait_for_one_store_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    both = asyncio.Barrier(2)

    async def meets(*_: object) -> str:
        await both.wait()
        return "reachable"

    monkeypatch.setattr(FakeService, "writable", meets)
    monkeypatch.setattr(Blobs, "reach", meets)
    async with serving(FakeService()) as client:
        response = await client.get("/health")
    assert response.json() == {"status": "ok", "store": "reachable", "blobs": BLOBS}


async def test_the_service_is_ready_when_some_model_is_loaded() -> None:
    service = FakeService()
    async with serving(service) as client:
        ready = await client.get("/ready")
        service.states.clear()
        waiting = await client.get("/ready")

    states = {"sightline/tiny": "ready", "org/other": "no_worker"}
    body = ready.json()
    assert body.pop("memory")["full"] is False
    assert (ready.status_code, body) == (200, {"status": "ready", "models": states, "blobs": BLOBS})
    assert (waiting.status_code, waiting.headers["retry-after"]) == (503, "1")
    states = dict.fromkeys(states, "no_worker")
    body = waiting.json()
    assert body.pop("memory")["full"] is False
    assert body == {"status": "not_ready", "models": states, "blobs": BLOBS}
