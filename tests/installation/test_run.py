"""The story of a first start: one command, a true answer, Ctrl-C, and all still there the next time."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from types import MappingProxyType
from typing import Literal

import httpx
import psutil
import pytest

from tests.support.clients import until
from tests.support.model_hub import model_hub
from tests.support.ports import free_port
from tests.support.snippets import snippets

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
READY_S = 120
STOP_S = 60

pytestmark = pytest.mark.timeout(4 * READY_S)


@pytest.fixture
def echo(tmp_path: Path) -> str:
    """A model table for what does not depend on the model: its worker starts without torch."""
    models = tmp_path / "echo.toml"
    models.write_text('[[models]]\nid = "my/echo"\nengine = "echo"\n')
    return str(models)


@dataclass
class Service:
    """A running `sightline run`."""

    process: subprocess.Popen[bytes]
    output: Path
    url: str

    def wait_for(self, line: str) -> str:
        """Everything said so far, as soon as it holds `line`."""

        def heard() -> str | Literal[False]:
            printed = self.output.read_text()
            assert line in printed or self.process.poll() is None, f"ended early:\n{printed}"
            return line in printed and printed

        return until(heard, READY_S)

    def family(self) -> list[psutil.Process]:
        """Every process it has started, the watchdog too."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def commands(self) -> dict[int, list[str]]:
        """The command line of every process, by its id."""
        commands = {}
        for process in (psutil.Process(self.process.pid), *self.family()):
            # One that has ended meanwhile has none.
            with suppress(psutil.NoSuchProcess):
                commands[process.pid] = process.cmdline()
        return commands


@contextmanager
def service(
    data: Path,
    *arguments: str,
    folder: str = str(ROOT),
    environ: Mapping[str, str] = MappingProxyType({}),
    **settings: str,
) -> Iterator[Service]:
    """Started, and at the end of the test killed with all its processes where it has not ended by itself.

    It is recorded beside its data.
    """
    port, output = free_port(), data.with_suffix(f".{time.monotonic_ns()}.out")
    argv = [sys.executable, "-m", "sightline", "run", *arguments, "--port", str(port), "--data", str(data)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    env |= {f"SIGHTLINE_{name}": value for name, value in settings.items()}
    env |= {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(data.parent / "state"), **environ}
    with (
        output.open("wb") as out,
        subprocess.Popen(argv, cwd=folder, env=env, stdout=out, stderr=out) as process,
    ):
        running = Service(process, output, f"http://127.0.0.1:{port}")
        try:
            yield running
        finally:
            if process.poll() is None:
                family = running.family()
                process.kill()
                for member in family:
                    with suppress(psutil.NoSuchProcess):
                        member.kill()


def stop(running: Service) -> None:
    """Ctrl-C; proves that it ends well and takes every process along."""
    family = running.family()
    running.process.send_signal(signal.SIGINT)

    assert running.process.wait(STOP_S) == 0
    assert psutil.wait_procs(family, timeout=STOP_S)[1] == []


def printed_commands(printed: str, url: str) -> list[str]:
    """The commands of the first start, each on a line of its own."""
    lines = printed.partition("\nTry, ")[2].splitlines()
    commands = [line for line in lines if url in line and "serving" not in line]
    assert len(commands) == 1, printed
    return commands


def shell(command: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=READY_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_start_answers_truly_and_the_next_has_its_job_whose_model_now_comes_from_the_hub(
    tmp_path: Path, echo: str
) -> None:
    picture = base64.b64encode((ROOT / "examples/sample.png").read_bytes()).decode()
    job = {"model": "sightline/tiny", "input": {"prompt": "Where is the circle?", "image": picture}}

    with service(tmp_path / "data") as first:
        shown = first.wait_for("serving on")
        assert re.search(r"answer +.*red circle", shown)
        for command in printed_commands(shown, first.url):
            assert "red circle" in shell(command)
        asked = httpx.post(
            f"{first.url}/models/sightline/tiny",
            json={"inputs": {"image": picture, "text": "What color is the circle?"}},
            timeout=60,
        )
        assert (asked.status_code, asked.json()[0]["generated_text"].strip(". ")) == (200, "Red")
        accepted = httpx.post(f"{first.url}/v1/jobs", json=job, timeout=60)
        assert accepted.status_code == 202
        stop(first)

    # As if its records had been deleted, but for the job.
    owner = tmp_path / "data/blobs/record-store"
    owner.write_text("another")
    with model_hub("sightline/tiny", ROOT / "models/tiny") as hub:
        hub_only = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        with service(tmp_path / "data", "sightline/tiny", environ=hub_only, MODELS_FILE=echo) as second:
            shown = second.wait_for("serving on")
            for line in (
                "model    sightline/tiny: weights of 7 MB",
                "device   the CPU",
                "engine   auto, which batches",
            ):
                assert line in shown
            assert re.search(r"answer +.*red circle", shown)
            assert owner.read_text() != "another", "pictures would never be deleted"
            view = httpx.get(f"{second.url}/v1/jobs/{accepted.json()['id']}?wait=30", timeout=60).json()
            assert (view["status"], "left" in view["result"]["text"].lower()) == ("succeeded", True)
            stop(second)


def test_a_dead_worker_comes_back_and_a_back_up_that_lost_its_pictures_is_not_taken_for_a_good_one(
    tmp_path: Path, echo: str
) -> None:
    """What the page tells people to type, at a restored copy with its pictures and without them."""
    with service(tmp_path / "data", "--workers", "2", MODELS_FILE=echo) as running:
        running.wait_for("serving on")
        nodes = [one for one in running.family() if one.name() == "worker" or "worker.app" in one.cmdline()]
        assert len(nodes) == 2
        min(nodes, key=lambda one: one.create_time()).kill()
        running.wait_for("worker-my--echo died (SIGKILL), restarting it in 1 s")

        argv = [sys.executable, "-m", "sightline", "ask", "Where?", "--json"]
        env = {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}
        found = subprocess.run(
            [*argv, str(ROOT / "examples/sample.png")],
            cwd=tmp_path,
            env={k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")} | env,
            capture_output=True,
            text=True,
            timeout=READY_S,
        )
        assert found.returncode == 0, found.stderr
        asked = json.loads(found.stdout)
        stop(running)

    tried = tmp_path / "tried"
    shutil.copytree(tmp_path / "data", tried)
    (shown,) = (s.code for s in snippets("sh by-hand") if "/retry " in s.code and ":8001" in s.code)
    with service(tried, MODELS_FILE=echo, FETCH__DENY="0.0.0.0/0,::/0") as restored:
        restored.wait_for("serving on")
        code = shown.replace("http://127.0.0.1:8001", restored.url).replace(".venv/bin", str(BIN))
        code = re.sub(r"^JOB=.*$", f"JOB={asked['job']}", code, flags=re.MULTILINE)
        assert shell(code).strip().endswith(asked["text"].strip())
        shutil.rmtree(tried / "blobs")
        with Popen(["/bin/sh", "-c", code], cwd=ROOT, stderr=PIPE, text=True, process_group=0) as command:
            assert command.stderr is not None
            assert any("waits for its next attempt: store_unavailable" in line for line in command.stderr)
            os.killpg(command.pid, signal.SIGTERM)
        family = restored.family()
        restored.process.kill()
        assert psutil.wait_procs(family, timeout=STOP_S)[1] == [], "they outlive their supervisor"
