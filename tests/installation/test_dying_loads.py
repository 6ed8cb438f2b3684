"""Models whose load ends their process: their callers are told, and all other models are served."""

import re
from functools import partial
from pathlib import Path
from typing import Literal

import httpx
import psutil
import pytest

from tests.installation.test_run import READY_S, ROOT, service, stop
from tests.support.clients import until

pytestmark = pytest.mark.timeout(4 * READY_S)
DYING_LOADS = {"PYTHONPATH": f"{ROOT / 'tests/support/dying_loads'}:{ROOT}"}
"""From where the processes import, too."""
DYING = {
    "segv": "its process ended with SIGSEGV while it loaded",
    "kill": "its process ended with SIGKILL, as where memory runs out,",
    "memory": "MemoryError",
    "hang": "it was not loaded within 3 s",
}


def test_a_row_whose_load_dies_is_failed_for_its_callers_and_no_other_model_notices(tmp_path: Path) -> None:
    """In the models file, and added while the service runs."""
    models = tmp_path / "models.toml"
    rows = [f'[[models]]\nid = "{name}"\nengine = "echo"\n' for name in ("dies/hang", "dies/segv", "my/echo")]
    models.write_text("".join(rows))
    env = {"MODELS_FILE": str(models), "WORKER__LOAD_LIMIT_S": "3"}
    with service(tmp_path / "data", environ=DYING_LOADS, **env) as running:
        printed = running.wait_for("serving on")
        running.wait_for(f"dies/segv: cannot be loaded: {DYING['segv']}")
        assert re.search(r"answer +(?!none)\S", printed), "the first question goes to one that answers"
        with httpx.Client(base_url=running.url, timeout=READY_S) as client:
            for how in ("kill", "memory"):
                client.post(
                    "/v1/admin/models", json={"id": f"dies/{how}", "engine": "echo"}
                ).raise_for_status()
            for how, words in DYING.items():
                refused = until(partial(_failed, client, f"/models/dies/{how}"), READY_S)
                assert words in refused.json()["error"]
                assert refused.headers["x-should-retry"] == "false"
            answer = client.post("/models/my/echo", json={"inputs": "one two"})
            assert answer.json() == [{"generated_text": "one two"}]
            _kill_worker(client, "my/echo")
            waits = {"x-wait-for-model": "true"}
            answer = client.post("/models/my/echo", json={"inputs": "three"}, headers=waits)
            assert answer.json() == [{"generated_text": "three"}], "its process was killed, not its load"
        assert "courier died" not in running.output.read_text(), "it loads no model"
        stop(running)


def test_a_stop_ends_what_hangs_and_leaves_no_process(tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    models.write_text('[[models]]\nid = "my/echo"\nengine = "echo"\n')
    with service(tmp_path / "data", MODELS_FILE=str(models), QUEUE__DRAIN_S="1") as running:
        running.wait_for("serving on")
        for process in running.family():
            # A decoder ends with its worker.
            if "shared.media.decode" not in process.cmdline():
                process.suspend()
        stop(running)


def _kill_worker(client: httpx.Client, model: str) -> None:
    models = client.get("/v1/admin/fleet").json()["models"]
    (worker,) = next(row["workers"] for row in models if row["model"] == model)
    psutil.Process(worker["pid"]).kill()


def _failed(client: httpx.Client, path: str) -> httpx.Response | Literal[False]:
    reply = client.post(path, json={"inputs": "Hello"})
    assert reply.status_code in (500, 503), reply.text
    return reply.status_code == 500 and reply
