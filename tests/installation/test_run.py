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
from redis import Redis

from tests.support.clients import until
from tests.support.model_hub import model_hub
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_server
from tests.support.snippets import snippets

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
READY_S = 120
STOP_S = 60

pytestmark = pytest.mark.timeout(4 * READY_S)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


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
    assert len(commands) == 3, printed
    return commands


def typed(command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=READY_S
    )


def shell(command: str) -> str:
    done = typed(command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_start_answers_truly_and_the_next_has_its_job_beside_a_model_that_cannot_be_loaded(
    tmp_path: Path,
) -> None:
    """The first question goes to one that answers, though the other stands before it in the file."""
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
    models = tmp_path / "models.toml"
    broken = '[[models]]\nid = "my/model"\nengine = "echo"\noptions = { fail = "no such weights" }\n'
    models.write_text(f'{broken}[[models]]\nid = "sightline/tiny"\nsource = "{ROOT / "models/tiny"}"\n')
    with service(tmp_path / "data", MODELS_FILE=str(models)) as second:
        assert re.search(r"answer +.*red circle", second.wait_for("serving on"))
        assert owner.read_text() != "another", "pictures would never be deleted"
        second.wait_for("worker-my--model died (exit code 71), restarting it")
        view = httpx.get(f"{second.url}/v1/jobs/{accepted.json()['id']}?wait=30", timeout=60).json()
        assert (view["status"], "left" in view["result"]["text"].lower()) == ("succeeded", True)
        stop(second)


def test_a_model_of_the_hub_needs_no_file(tmp_path: Path) -> None:
    with model_hub("org/tiny", ROOT / "models/tiny") as hub:
        hub_only = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        with service(tmp_path / "data", "org/tiny", environ=hub_only) as running:
            shown = running.wait_for("serving on")
            for line in (
                "model    org/tiny: weights of 7 MB",
                "device   the CPU",
                "engine   auto, which batches",
            ):
                assert line in shown
            assert re.search(r"answer +.*red circle", shown)
            stop(running)


def test_a_back_up_that_lost_its_pictures_is_not_taken_for_a_good_one(tmp_path: Path, echo: str) -> None:
    """What the page tells people to type, at a restored copy with its pictures and without them."""
    picture = base64.b64encode((ROOT / "examples/sample.png").read_bytes()).decode()
    job = {"model": "my/echo", "input": {"prompt": "Where is the circle?", "image": picture}}
    with service(tmp_path / "data", MODELS_FILE=echo) as running:
        running.wait_for("serving on")
        waits = {"Prefer": "wait=60"}
        asked = httpx.post(f"{running.url}/v1/jobs", json=job, headers=waits, timeout=READY_S).json()
        assert asked["status"] == "succeeded"
        stop(running)

    tried = tmp_path / "tried"
    shutil.copytree(tmp_path / "data", tried)
    (shown,) = (s.code for s in snippets("sh by-hand") if "/retry " in s.code and ":8001" in s.code)
    with service(tried, MODELS_FILE=echo, FETCH__DENY="0.0.0.0/0,::/0") as restored:
        restored.wait_for("serving on")
        code = shown.replace("http://127.0.0.1:8001", restored.url).replace(".venv/bin", str(BIN))
        code = re.sub(r"^JOB=.*$", f"JOB={asked['id']}", code, flags=re.MULTILINE)
        assert shell(code).endswith(f"{asked['result']['text']}\n")
        shutil.rmtree(tried / "blobs")
        with Popen(["/bin/sh", "-c", code], cwd=ROOT, stderr=PIPE, text=True, process_group=0) as command:
            assert command.stderr is not None
            assert any("waits for its next attempt: store_unavailable" in line for line in command.stderr)
            os.killpg(command.pid, signal.SIGTERM)
        stop(restored)


def test_commands_find_the_service_of_their_folder_on_any_port_and_guess_none_of_several(
    tmp_path: Path, echo: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    env |= {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}

    def command(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-m", "sightline", *words]
        return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=READY_S)

    with service(tmp_path / "data", MODELS_FILE=echo) as one:
        one.wait_for("serving on")
        asked = command(tmp_path, "ask", "one", "--picture", str(ROOT / "examples/sample.png"), "--json")
        assert asked.returncode == 0, asked.stderr
        job = json.loads(asked.stdout)["job"]
        with service(tmp_path / "other", folder=str(elsewhere), MODELS_FILE=echo) as other:
            other.wait_for("serving on")
            assert job in command(ROOT, "jobs", "list").stdout
            assert job not in command(elsewhere, "jobs", "list").stdout
            refused = command(tmp_path, "jobs", "list")
            assert refused.returncode == 2
            assert one.url in refused.stderr
            assert other.url in refused.stderr
            stop(other)
        assert job in command(elsewhere, "jobs", "list").stdout
        stop(one)


def test_a_worker_that_dies_comes_back_and_with_the_supervisor_all_ends_but_a_server_of_ones_own(
    tmp_path: Path, redis: RedisServer, echo: str
) -> None:
    """Killed both: what starts a worker again cannot stop it any more. There are as many as are asked for."""
    with service(tmp_path / "data", "--workers", "2", REDIS__URL=redis.url(2), MODELS_FILE=echo) as running:
        assert "(given by SIGHTLINE_REDIS__URL)" in running.wait_for("serving on")
        commands = running.commands()
        assert not any("valkey-server" in "".join(argv[:1]) for argv in commands.values())
        nodes = {argv[argv.index("-n") + 1]: pid for pid, argv in commands.items() if "worker.app" in argv}
        assert len(nodes) == 2
        worker = nodes["my--echo@%h"]

        os.kill(worker, signal.SIGKILL)

        running.wait_for("worker-my--echo died (SIGKILL), restarting it in 1 s")
        question = {"inputs": "Hello?"}
        waits = {"x-wait-for-model": "true"}
        asked = httpx.post(f"{running.url}/models/my/echo", json=question, headers=waits, timeout=READY_S)
        assert asked.status_code == 200
        family = running.family()

        running.process.kill()

        assert psutil.wait_procs(family, timeout=STOP_S)[1] == []
    with Redis(port=redis.port) as client:
        assert client.info("keyspace").keys() == {"db2", "db3"}
