"""A model comes and goes under a running service, on a laptop and in a fleet; nothing else starts again."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.models import Model
from tests.installation.test_run import READY_S, ROOT, stop
from tests.installation.test_run import service as laptop
from tests.support.clients import Api, until
from tests.support.service import COURIER, Service, running_service
from worker.celery_app import Exit

MODELS = """
[[models]]
id = "org/first"
engine = "echo"
"""
MORE = """
[[models]]
id = "org/second"
engine = "echo"
rows = 2
"""
NEW = Model(id="org/new", engine="echo")


@pytest.mark.timeout(2 * READY_S)
def test_on_a_laptop_an_added_model_gets_a_worker_and_a_removed_one_loses_it(tmp_path: Path) -> None:
    models, more = tmp_path / "models.toml", tmp_path / "more.toml"
    models.write_text(MODELS, encoding="utf-8")
    more.write_text(MORE, encoding="utf-8")
    with laptop(tmp_path / "data", MODELS_FILE=str(models), QUEUE__RESCUE_S="0.2") as running:
        running.wait_for("serving on")

        def sightline(*argv: str) -> str:
            command = (sys.executable, "-m", "sightline", "models", *argv, "--url", running.url)
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

        sightline("add", str(more))
        running.wait_for("worker   org/second")
        ask = {"inputs": "hello"}
        patient = {"x-wait-for-model": "true"}
        reply = httpx.post(f"{running.url}/models/org/second", json=ask, headers=patient, timeout=READY_S)
        assert reply.json() == [{"generated_text": "hello"}]
        sightline("pause", "org/second")
        body = {"model": "org/second", "input": {"prompt": "waits"}}
        job = httpx.post(f"{running.url}/v1/jobs", json=body, timeout=READY_S).json()["id"]
        sightline("remove", "org/second")
        running.wait_for("worker-org--second is stopped")
        asked = f"{running.url}/v1/jobs/{job}"
        until(lambda: httpx.get(asked, timeout=READY_S).json()["status"] == "failed")
        assert "org/second" not in sightline("list")
        stop(running)


@pytest.fixture
def service() -> Iterator[Service]:
    """Two APIs and a courier, as small as a fleet can be."""
    with running_service(MODELS, {"SIGHTLINE_QUEUE__RESCUE_S": "0.2"}) as running:
        running.ready("api", "api-2", COURIER)
        yield running


def test_in_a_fleet_a_worker_of_an_added_model_serves_at_once(service: Service) -> None:
    """No models file names it: neither the APIs' nor the worker's."""
    row = NEW.model_dump(mode="json", exclude_defaults=True)
    worker = service.worker(NEW)
    with Api(service.url()) as api, Api(service.url("api-2")) as other:
        assert api.post("/v1/admin/models", json=row).status_code == 201
        job = api.submit(model=NEW.id, input={"prompt": "hello"})
        worker.start()
        try:
            assert api.ended(job)["result"]["text"] == "hello"
            until(lambda: other.get(f"/status/{NEW.id}").status_code == 200)
            asked = other.submit(model=NEW.id, input={"prompt": "from the other one"})
            assert other.ended(asked)["result"]["text"] == "from the other one"
            assert api.delete(f"/v1/admin/models/{NEW.id}").status_code == 204
            assert api.post(f"/models/{NEW.id}", json={"inputs": "again"}).status_code == 404
            # Added with another row it is another model, which the worker of this one does not hold.
            assert api.post("/v1/admin/models", json=row | {"rows": 2}).status_code == 201
            assert worker.wait() == Exit.OUTDATED
            again = api.submit(model=NEW.id, input={"prompt": "hello again"})
            worker.start()
            assert api.ended(again)["result"]["text"] == "hello again"
        finally:
            worker.end()
