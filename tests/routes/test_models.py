"""Which models there are and how they stand."""

import asyncio
from dataclasses import replace

import pytest

from api.dialects.native.models import ModelState, to_model
from api.jobs.service import Jobs
from api.routes import models
from shared.blobs import Blobs
from shared.estimate import ReuseCounts
from shared.models import Model
from shared.settings import Settings
from tests.routes.conftest import Deployment
from tests.support.app import client_of, serving
from tests.support.fake_service import IDLE, FakeService

DOCUMENTS = {"max_document_mb": 50, "max_document_pages": 1000}
LIMITS = {"max_pictures": 256, "max_picture_mb": 50, "max_body_mb": Settings().api.body_mb, **DOCUMENTS}
TINY = {"id": "sightline/tiny", "object": "model", "created": 0, "owned_by": "sightline", **LIMITS}
OTHER = {"id": "org/other", "object": "model", "created": 0, "owned_by": "org", **LIMITS}
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


async def test_vllms_clients_read_how_long_a_prompt_may_be_of_a_worker(deployment: Deployment) -> None:
    deployment.worker.beat(context_length="4096")
    async with client_of(deployment.app) as client:
        tiny, *_ = (await client.get("/v1/models")).json()["data"]
        one = (await client.get("/v1/models/sightline/tiny")).json()
    assert tiny["max_model_len"] == one["max_model_len"] == 4096


@pytest.mark.parametrize(
    "row",
    [
        Model(id="org/other", source="models/tiny"),
        Model(id="org/other", engine="echo", context_length=2048),
    ],
)
def test_vllms_clients_read_how_long_a_prompt_may_be_before_anything_has_loaded(row: Model) -> None:
    assert to_model(row, Settings()) == {**OTHER, "max_model_len": 2048}


async def test_callers_read_what_their_pictures_are_shrunk_to_where_they_are(deployment: Deployment) -> None:
    seen = []
    async with client_of(deployment.app) as client:
        for side in ("", "1280"):
            deployment.worker.beat(max_side=side)
            one = (await client.get("/v1/models/sightline/tiny")).json()
            seen.append(one.get("max_side"))
    assert seen == [None, 1280]


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


async def test_the_information_of_a_model_says_how_it_stands() -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/hf-inference/models/org/other")

    named = {"model_id": "org/other", "model_sha": "abc", "model_dtype": "auto", "model_device_type": "auto"}
    stands = {"state": "no_worker", "workers": 0, "queued": 2, "estimated_time": 7.5, "basis": "guess"}
    assert (response.status_code, response.json()) == (200, named | stands)


async def test_the_status_of_a_model_says_what_its_requests_had_in_common() -> None:
    service = FakeService()
    reused = {"prompts": 3, "hits": 2, "cached_tokens": 70, "bytes": 4096}
    service.states["sightline/tiny"] = replace(
        LOADING, lane=replace(LOADING.lane, reused=ReuseCounts(**reused))
    )
    async with serving(service) as client:
        assert (await client.get("/status/sightline/tiny")).json()["reused"] == reused
        assert (await client.get("/status/org/other")).json()["reused"] is None


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
