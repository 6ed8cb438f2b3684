"""`sightline doctor` names what is broken here and what to do about it, and ends with 1."""

import json
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shared.models import Model
from shared.settings import PREFIX, ApiSettings, RedisSettings
from sightline.cli import main
from sightline.doctor import gpu, machine, models, records, workers
from sightline.doctor.check import Check, State
from sightline.doctor.weights import faults
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_server

TINY = Path(__file__).parents[2] / "models/tiny"
GIB = 2**30


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@pytest.fixture
def configured(server: RedisServer) -> Iterator[Callable[..., None]]:
    """The server's configuration in the test's hand, and as it was afterwards."""
    with Redis(port=server.port, decode_responses=True) as client:
        before = {
            name: client.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy", "appendonly")
        }

        def configure(**said: str) -> None:
            for name, value in said.items():
                client.config_set(name.replace("_", "-"), value)

        yield configure
        for name, value in before.items():
            client.config_set(name, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder to break."""
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def settings(server: RedisServer) -> RedisSettings:
    return RedisSettings.model_validate({"url": server.url()})


def states(checks: Iterator[Check]) -> dict[str, State]:
    return {check.about: check.state for check in checks}


def test_a_record_store_that_may_be_relied_on_is_no_problem(
    server: RedisServer, configured: Callable[..., None]
) -> None:
    configured(maxmemory="500mb")
    found = states(records.look(settings(server)))
    assert found.pop("latency") in ("ok", "warning")
    assert found == dict.fromkeys(("redis", "persistence", "eviction", "memory", "clock"), "ok")


@pytest.mark.parametrize(
    ("said", "about", "state"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "eviction", "problem"),
        ({"appendonly": "no"}, "persistence", "warning"),
        ({"maxmemory": "0"}, "memory", "warning"),
        ({"maxmemory": "1mb"}, "memory", "problem"),
    ],
)
def test_a_record_store_that_may_lose_or_refuse_jobs_is_named_with_what_to_do(
    server: RedisServer, configured: Callable[..., None], said: dict[str, str], about: str, state: State
) -> None:
    configured(**said)
    (found,) = (check for check in records.look(settings(server)) if check.about == about)
    assert found.state == state
    assert found.fix


def test_a_record_store_that_is_not_there_is_named_without_its_password() -> None:
    url = f"redis://:swordfish@127.0.0.1:{free_port()}/0"
    (found,) = records.look(RedisSettings.model_validate({"url": url}))
    assert (found.about, found.state) == ("redis", "problem")
    assert "swordfish" not in str(found)


@pytest.mark.parametrize(
    ("ahead_s", "state"), [(0.0, "ok"), (20.0, "warning"), (-20.0, "warning"), (600.0, "problem")]
)
def test_a_clock_that_is_another_than_the_record_store_s_is_named(
    server: RedisServer, ahead_s: float, state: State
) -> None:
    found = states(records.look(settings(server), now=lambda: time.time() - ahead_s))
    assert found["clock"] == state


def test_a_whole_model_has_no_fault() -> None:
    assert list(faults(TINY)) == []


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "there are no weights (*.safetensors)"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: No such file or directory"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "model.safetensors").write_text("<html>"), "is no safetensors file"),
        (lambda folder: [f.unlink() for f in folder.glob("tokenizer*")], "there is no tokenizer"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "model-2.safetensors"}}'
            ),
            "model-2.safetensors is missing, which model.safetensors.index.json names",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named_before_anything_is_started(
    folder: Path, broken: Callable[[Path], object], fault: str
) -> None:
    broken(folder)
    assert any(said.endswith(fault) for said in faults(folder))
    (found,) = models.look([Model(id="org/m", source=str(folder))], None)
    assert found.state == "problem"


def test_half_a_download_of_weights_is_found_out(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(whole - 100)
    assert list(faults(folder)) == [f"model.safetensors has {whole - 100} of {whole} bytes"]


def test_weights_without_room_in_memory_are_named_with_both_figures() -> None:
    (found,) = models.look([Model(id="org/m", source=str(TINY))], 0.5)
    assert found.state == "problem"
    assert "0 MB of memory are free" in found.said or "1 MB of memory are free" in found.said


@pytest.mark.parametrize("source", ["", "./nowhere", "/nowhere"])
def test_a_model_whose_folder_is_not_there_is_a_problem(source: str) -> None:
    (found,) = models.look([Model(id="org/m", source=source)], None)
    assert found.state == "problem"


def driver(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / gpu.PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ('echo "0, NVIDIA H200, 140000, 143771"', "ok", "0: NVIDIA H200, 140000 of 143771 MiB free"),
        ('echo "NVIDIA-SMI has failed: no driver"; exit 9', "problem", "has failed: no driver"),
    ],
)
def test_the_gpu_is_told_as_its_driver_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: State, said: str
) -> None:
    driver(tmp_path, script, monkeypatch)
    (found,) = gpu.look([Model(id="org/m", source="org/m", device="cuda")])
    assert found.state == state
    assert said in found.said


def test_a_model_that_wants_a_gpu_where_there_is_none_is_a_problem() -> None:
    wanting = Model(id="org/m", source="org/m", device="cuda")
    assert [check.state for check in gpu.look([wanting], list)] == ["problem"]
    assert [check.state for check in gpu.look([Model(id="org/m", source="org/m")], list)] == ["ok"]


def test_a_port_that_another_program_has_is_named_with_that_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = machine.look_at_port("127.0.0.1", port, answers=False)
    assert found.state == "problem"
    assert Path(sys.executable).name[:6] in found.said
    assert machine.look_at_port("127.0.0.1", free_port(), answers=False).state == "ok"


def test_a_data_folder_that_cannot_be_written_or_has_no_room_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    def state(path: Path, free: int) -> list[State]:
        return [check.state for check in machine.look_at_data(path, lambda _: free)]

    assert state(file / "data", 100 * GIB) == ["problem"]
    assert state(tmp_path / "data", 100 * GIB) == ["ok"]
    assert state(tmp_path / "data", 2 * GIB) == ["warning"]
    assert state(tmp_path / "data", 2**20) == ["problem"]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("host", "api", "expected"),
    [
        ("127.0.0.1", {}, {"access": "ok"}),
        ("192.0.2.7", {}, {"access": "problem"}),
        ("192.0.2.7", {"open": True}, {"access": "warning"}),
        ("192.0.2.7", {"admin_key": "k" * 32}, {"access": "ok", "transport": "warning"}),
    ],
)
def test_an_api_that_others_reach_asks_for_keys(
    host: str, api: dict[str, Any], expected: dict[str, State]
) -> None:
    assert states(machine.look_at_access(ApiSettings.model_validate(api), host)) == expected


def line(**said: Any) -> dict[str, Any]:
    ready = {"state": "ready", "rows": 4, "busy": 1, "pid": 7, "host": "here"}
    row = {"model": "org/m", "state": "ready", "reason": None, "paused": False, "oldest_queued_s": None}
    return row | {"queued": {"interactive": 0, "normal": 0, "batch": 0}, "workers": [ready]} | said


WAITING = {"interactive": 0, "normal": 3, "batch": 0}


@pytest.mark.parametrize(
    ("said", "state", "word"),
    [
        ({}, "ok", "1 ready"),
        ({"queued": WAITING, "oldest_queued_s": 3.0}, "ok", "3 wait"),
        ({"queued": WAITING, "oldest_queued_s": 90.0}, "problem", "beside free rows"),
        ({"queued": WAITING, "workers": [], "state": "no_worker"}, "problem", "3 jobs wait"),
        ({"workers": [], "state": "no_worker"}, "warning", "none"),
        ({"state": "failed", "reason": "no such file"}, "problem", "no such file"),
        ({"paused": True}, "warning", "paused"),
        ({"workers": [{"state": "loading"}], "state": "loading"}, "warning", "loading"),
    ],
)
def test_workers_that_take_nothing_are_named(said: dict[str, Any], state: State, word: str) -> None:
    (found,) = workers.look([line(**said)])
    assert found.state == state
    assert word in found.said


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments for a place where nothing runs, with a model that needs nothing."""
    for name in (PREFIX + "REDIS__URL", PREFIX + "API_KEY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nid = "org/echo"\nengine = "echo"\n')
    monkeypatch.setenv(PREFIX + "MODELS_FILE", str(file))
    return ["--port", str(free_port()), "--data", str(tmp_path / "data")]


def test_a_machine_on_which_all_is_well_ends_with_0(
    place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *place]) == 0
    said = capsys.readouterr().out
    assert "problem" not in said
    assert "`sightline run` starts" in said


def test_a_problem_ends_with_1_and_says_what_to_do(
    place: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + "REDIS__URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(["doctor", *place]) == 1
    said = capsys.readouterr().out.splitlines()
    at = next(at for at, text in enumerate(said) if text.startswith("problem  redis"))
    assert "→ start it, or correct SIGHTLINE_REDIS__URL" in said[at + 1]
    assert said[-1].startswith("1 problem")


def test_a_wrong_setting_or_models_file_is_the_first_thing_named(
    place: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "models.toml").write_text("[[models]]\nid = 7\n")
    assert main(["doctor", "--json", *place]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [c["about"] for c in told["checks"] if c["state"] == "problem"] == ["models file"]
    monkeypatch.setenv(PREFIX + "QUEUE__LEASE_S", "soon")
    assert main(["doctor", "--json", *place]) == 1
    (found,) = json.loads(capsys.readouterr().out)["checks"]
    assert (found["about"], "SIGHTLINE_QUEUE__LEASE_S" in found["said"]) == ("settings", True)
