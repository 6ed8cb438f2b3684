"""Nodes with real processes: a model comes when it is asked for, and nothing is lost whatever is killed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

import psutil
import pytest

from tests.support.clients import Api, until
from tests.support.processes import Process
from tests.support.service import COURIER, Service, running_service

NAMES = ("test/one", "test/two", "test/three")
SLOW_LOAD, COLD = "test/slow-load", ("test/cold-1", "test/cold-2", "test/cold-3")
MODELS = "".join(f'[[models]]\nid = "{name}"\nengine = "echo"\nmemory_mb = 100\n' for name in (*NAMES, *COLD))
MODELS += f"""
[[models]]
id = "{SLOW_LOAD}"
engine = "echo"
memory_mb = 100
keep_alive_s = 1000
options = {{ load_s = 2 }}
"""
ENV = {
    "SIGHTLINE_NODE__MEMORY_MB": "150",
    "SIGHTLINE_NODE__MIN_RESIDENT_S": "0.1",
    "SIGHTLINE_QUEUE__LEASE_S": "5",
    "SIGHTLINE_QUEUE__RENEW_S": "0.5",
    "SIGHTLINE_QUEUE__RESCUE_S": "0.5",
    "SIGHTLINE_QUEUE__WORKER_TTL_S": "5",
}
"""Each node has room for one model."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Service]:
    """An API, a courier, and two nodes that are still to be started."""
    with running_service(MODELS, ENV) as service:
        service.ready("api", COURIER)
        for name in ("node-1", "node-2"):
            service.add_node(name, {})
        yield service


@pytest.fixture
def api(fleet: Service) -> Iterator[Api]:
    with Api(fleet.url()) as client:
        yield client


@pytest.fixture
def node(fleet: Service) -> Iterator[Process]:
    process = fleet.processes["node-1"]
    process.start()
    yield process
    process.end()


def rows(api: Api) -> dict[str, Any]:
    return {row["model"]: row for row in api.get("/v1/admin/fleet").json()["models"]}


def workers(api: Api) -> list[dict[str, Any]]:
    return [worker for row in rows(api).values() for worker in row["workers"]]


def loading(api: Api, model: str) -> int | Literal[False]:
    """The process of a worker that loads it and has said so."""
    return next((one["pid"] for one in rows(api)[model]["workers"] if one["state"] == "loading"), 0) or False


def stands(api: Api, *names: str) -> bool:
    return tuple(name for name, row in rows(api).items() if row["state"] == "ready") == names


@pytest.mark.usefixtures("node")
def test_models_that_have_room_one_at_a_time_all_answer(api: Api) -> None:
    for name in (*NAMES, NAMES[0]):
        job = api.submit(model=name, input={"prompt": f"for {name}"})
        assert api.ended(job)["result"]["text"] == f"for {name}"


@pytest.mark.usefixtures("node")
def test_a_caller_who_is_told_to_come_back_finds_the_model_there(api: Api) -> None:
    """As in Hugging Face's Inference API: 503 with `estimated_time`, and the call has it loaded."""
    until(lambda: stands(api, NAMES[0]))
    path, asked = f"/models/{NAMES[1]}", {"inputs": "hello"}
    refused = api.post(path, json=asked)
    assert (refused.status_code, refused.json()["error_type"]) == (503, "model_loading")
    assert refused.json()["estimated_time"] > 0
    until(lambda: stands(api, NAMES[1]))
    assert api.post(path, json=asked).json() == [{"generated_text": "hello"}]


@pytest.mark.usefixtures("node")
def test_a_worker_that_is_killed_while_it_loads_refuses_nobody(api: Api, fleet: Service) -> None:
    """Calls wait for the next try, and jobs are accepted meanwhile."""

    def call(number: int) -> int:
        waits, asked = {"x-wait-for-model": "true"}, {"inputs": f"call {number}"}
        with Api(fleet.url()) as caller:
            return caller.post(f"/models/{SLOW_LOAD}", json=asked, headers=waits).status_code

    def submitted() -> bool:
        jobs.append(api.submit(model=SLOW_LOAD, input={"prompt": f"job {len(jobs)}"}))
        return bool(rows(api)[SLOW_LOAD]["state"] == "ready")

    jobs = [api.submit(model=SLOW_LOAD, input={"prompt": "patience"})]
    process = psutil.Process(until(partial(loading, api, SLOW_LOAD)))
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, number) for number in range(8)]
        until(lambda: sum(rows(api)[SLOW_LOAD]["queued"].values()) > len(calls))
        process.kill()
        until(submitted)
        assert {one.result() for one in calls} == {200}
    assert {api.ended(job)["status"] for job in jobs} == {"succeeded"}


@pytest.mark.usefixtures("node")
def test_a_model_that_cannot_be_loaded_makes_none_leave(api: Api, fleet: Service) -> None:
    """After its first try, when nobody knows it; others answer by turns, also while a job waits for it."""

    def left() -> int:
        return fleet.log("node-1").count(f"its room was needed for {broken}")

    broken = "test/broken"
    row = {"id": broken, "engine": "echo", "memory_mb": 100, "options": {"fail": "no such weights"}}
    api.post("/v1/admin/models", json=row).raise_for_status()
    try:
        api.submit(model=broken, input={"prompt": "hello"})
        until(lambda: rows(api)[broken]["state"] == "failed")
        before = left()
        for number in range(16):
            job = api.submit(model=NAMES[number // 2 % 2], input={"prompt": f"good {number}"})
            assert api.ended(job)["result"]["text"] == f"good {number}"
        assert left() == before
    finally:
        api.delete(f"/v1/admin/models/{broken}")


@pytest.mark.usefixtures("node")
def test_several_cold_models_promise_the_loads_before_them(api: Api) -> None:
    until(lambda: {rows(api)[name]["state"] for name in COLD} == {"cold"})
    jobs = [api.post("/v1/jobs", json={"model": name, "input": {"prompt": "?"}}).json() for name in COLD]
    told = [job["estimate"]["p50"] for job in jobs]
    assert told == sorted({*told}), "each later than the one before"
    assert {api.ended(job["id"])["status"] for job in jobs} == {"succeeded"}


@pytest.mark.usefixtures("node")
def test_a_model_that_is_added_promises_its_load_at_once(api: Api) -> None:
    new = "test/new"
    until(lambda: rows(api)[NAMES[1]]["state"] != "no_worker")
    api.post("/v1/admin/models", json={"id": new, "engine": "echo", "memory_mb": 100}).raise_for_status()
    try:
        refused = api.post(f"/models/{new}", json={"inputs": "hello"})
        assert (refused.status_code, refused.json()["error_type"]) == (503, "model_loading")
        job = api.job(api.submit(model=new, input={"prompt": "hello"}))
        assert (job["waiting_reason"], job["estimate"]["p50"] > 0) == ("model_loading", True)
        assert api.ended(job["id"])["result"]["text"] == "hello"
    finally:
        api.delete(f"/v1/admin/models/{new}")


def test_a_hung_fork_server_keeps_no_model_from_loading(api: Api, node: Process) -> None:
    job = api.submit(model=SLOW_LOAD, input={"prompt": "hung"})
    worker = psutil.Process(until(partial(loading, api, SLOW_LOAD)))
    fork_server = worker.parent()
    assert fork_server is not None
    fork_server.suspend()
    worker.kill()
    assert api.ended(job)["result"]["text"] == "hung"
    assert fork_server.pid not in [child.pid for child in psutil.Process(node.pid).children()]


def test_a_node_that_is_killed_takes_its_workers_along_and_another_does_their_work(
    api: Api, node: Process, fleet: Service
) -> None:
    job = api.submit(model=SLOW_LOAD, input={"prompt": "moved"})
    process = psutil.Process(until(partial(loading, api, SLOW_LOAD)))
    node.kill()
    process.wait()
    other = fleet.processes["node-2"]
    other.start()
    try:
        assert api.ended(job)["result"]["text"] == "moved"
    finally:
        other.end()


@pytest.mark.usefixtures("node")
def test_a_node_goes_on_when_the_record_store_was_killed(api: Api, fleet: Service) -> None:
    job = api.submit(model=SLOW_LOAD, input={"prompt": "stored"})
    until(partial(loading, api, SLOW_LOAD))
    fleet.redis.kill()
    fleet.redis.start()
    assert api.ended(job)["result"]["text"] == "stored"


def test_a_node_that_is_stopped_leaves_no_worker_and_no_promise(api: Api, node: Process) -> None:
    until(lambda: workers(api))
    node.terminate()
    assert node.wait() == 0
    assert {row["state"] for row in rows(api).values()} == {"no_worker"}
