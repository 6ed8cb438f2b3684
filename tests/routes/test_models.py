"""Which models there are and how they stand."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from api.dialects.native.models import ModelState, to_model
from api.jobs.service import Jobs
from api.routes import health, models
from shared.blobs import Blobs
from shared.estimate import Lane
from shared.models import Model
from shared.settings import Settings
from tests.routes.conftest import Deployment
from tests.support.app import FakeStore, client_of, serving
from tests.support.fake_service import IDLE, FakeService

DOCUMENTS = {"max_document_mb": 50, "max_document_pages": 1000}
LIMITS = {"max_pictures": 256, "max_picture_mb": 50, "max_body_mb": Settings().api.body_mb, **DOCUMENTS}
RESIDENT = {"state": "resident", "since": None, "estimated_time": 0.0, "reason": None}
TINY = {"id": "sightline/tiny", "object": "model", "created": 0, "owned_by": "sightline", **LIMITS}
OTHER = {"id": "org/other", "object": "model", "created": 0, "owned_by": "org", **LIMITS}
LOADING = ModelState(replace(IDLE, loading=1), estimated_time=3.5, basis="measured")
BLOBS = {"kind": "folder", "state": "reachable"}


async def test_the_models_are_listed_with_the_default_first() -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/v1/models")

    data = [model | {"residency": RESIDENT} for model in (TINY, OTHER)]
    assert (response.status_code, response.json()) == (200, {"object": "list", "data": data})


@pytest.mark.parametrize("name", ["org/other", "org/other:hf-inference", "org%2Fother"])
async def test_a_model_is_found_with_its_slash_as_it_is(name: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.get(f"/v1/models/{name}")

    assert (response.status_code, response.json()) == (200, OTHER | {"residency": RESIDENT})


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
    assert "residency" not in found[0], "what is not known is not told"


async def test_whether_a_model_is_loaded_is_told_alike_wherever_it_is_asked(deployment: Deployment) -> None:
    worker, told = deployment.worker, []
    async with client_of(deployment.app) as client:
        for beat in (
            partial(worker.beat, load_ms="4000"),
            partial(worker.beat, "gone"),
            partial(worker.node_beat, load_in_ms="6000", unloaded="room for org/b"),
            partial(worker.beat, "loading", load_passed_ms="1000"),
            partial(worker.beat, "gone", failed="no memory"),
        ):
            beat()
            (listed, _), status, (fleet, _) = (
                (await client.get("/v1/models")).json()["data"],
                (await client.get("/status/sightline/tiny")).json(),
                (await client.get("/v1/admin/fleet")).json()["models"],
            )
            for other in (listed, fleet):
                assert other["residency"] == pytest.approx(status["residency"], abs=1)
            found = status["residency"]
            told.append(
                (found["state"], found["since"] is not None, found["estimated_time"], found["reason"])
            )

    assert told == [
        ("resident", True, 0, None),
        ("no_worker", False, 4, None),
        ("cold", True, 10, "room for org/b"),
        ("loading", True, pytest.approx(2.5, abs=0.5), None),
        ("failed", False, 10, "no memory"),
    ]


async def test_a_service_whose_models_are_all_cold_takes_questions(deployment: Deployment) -> None:
    seen = []
    async with client_of(deployment.app) as client:
        for act in (deployment.worker.node_beat, partial(deployment.worker.beat, "loading")):
            act()
            seen.append((await client.get("/ready")).status_code)
        deployment.worker.beat("gone", failed="no memory")
        seen.append((await client.get("/ready")).status_code)
    assert seen == [200, 503, 503], "who waits for a start hears of its end"


@pytest.mark.parametrize(("keep_alive_s", "answers"), [(None, False), (300, True)])
def test_while_a_model_loads_that_was_asked_for_no_balancer_takes_the_service_out(
    keep_alive_s: float | None, answers: bool
) -> None:
    model = Model(id="org/m", engine="echo", keep_alive_s=keep_alive_s)
    assert health._answers(model, Lane(0, 1, 0, 0, 0, cold=1)) is answers


async def test_a_refused_call_says_that_it_had_the_model_loaded(deployment: Deployment) -> None:
    deployment.worker.node_beat(load_in_ms="6000")
    deployment.worker.beat("gone", load_ms="4000")
    async with client_of(deployment.app) as client:
        before = (await client.get("/v1/admin/fleet")).json()["models"][0]["backlog"]
        probe = await client.get("/models/sightline/tiny/health")
        probed = (await client.get("/v1/admin/fleet")).json()["models"][0]["backlog"]
        call = await client.post("/models/sightline/tiny", json={"inputs": "A cat is"})
        asked = (await client.get("/v1/admin/fleet")).json()["models"][0]["backlog"]

    assert (before, probed, asked) == (0, 0, 1), "a probe has nothing loaded"
    assert "a question loads it, about 10 s" in probe.json()["error"]
    assert "this call asked for it, about 10 s" in call.json()["error"]
    assert (call.json()["estimated_time"], call.headers["retry-after"]) == (10, "10")


async def test_the_information_of_a_model_says_how_it_stands() -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/hf-inference/models/org/other")

    named = {"model_id": "org/other", "model_sha": "abc", "model_dtype": "auto", "model_device_type": "auto"}
    stands = {"state": "no_worker", "workers": 0, "queued": 2, "estimated_time": 7.5, "basis": "guess"}
    assert (response.status_code, response.json()) == (200, named | stands)


async def test_a_probe_does_not_wait_for_one_store_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    both = asyncio.Barrier(2)

    async def meets(*_: object) -> str:
        await both.wait()
        return "reachable"

    monkeypatch.setattr(FakeStore, "run", meets)
    monkeypatch.setattr(Blobs, "reach", meets)
    async with serving(FakeService()) as client:
        response = await client.get("/health")
    assert response.json() == {"status": "ok", "store": "reachable", "blobs": BLOBS}
