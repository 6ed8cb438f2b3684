"""A model comes and goes on a laptop, and nothing else starts again; in a fleet: tests/e2e/test_models.py."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.installation.test_run import READY_S, ROOT, service, stop
from tests.support.clients import until

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


@pytest.mark.timeout(2 * READY_S)
def test_on_a_laptop_an_added_model_gets_a_worker_and_a_removed_one_loses_it(tmp_path: Path) -> None:
    models, more = tmp_path / "models.toml", tmp_path / "more.toml"
    models.write_text(MODELS, encoding="utf-8")
    more.write_text(MORE, encoding="utf-8")
    with service(tmp_path / "data", MODELS_FILE=str(models), QUEUE__RESCUE_S="0.2") as running:
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
        running.wait_for("org/second leaves cpu: its model was removed")
        asked = f"{running.url}/v1/jobs/{job}"
        until(lambda: httpx.get(asked, timeout=READY_S).json()["status"] == "failed")
        assert "org/second" not in sightline("list")
        stop(running)
