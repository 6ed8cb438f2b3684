"""`sightline doctor` names what is broken here and what to do about it, and nothing where all is well."""

import errno
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from shared.settings import CLIENT_KEY, CLIENT_URL, PREFIX
from sightline import gpus
from sightline.cli import main
from sightline.doctor import machine, models, services
from tests.support.packages import without_traces
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, cluster, redis_server

TINY = Path(__file__).parents[3] / "models/tiny"
ECHO = '[[models]]\nid = "org/echo"\nengine = "echo"\n'
Doctor = Callable[..., dict[str, dict[str, str]]]
"""Types `sightline doctor` and returns its findings by what they are about."""


def run_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service that no command names run, or be started, there."""
    for module in ("command", "services"):
        monkeypatch.setattr(f"sightline.doctor.{module}.LOCAL", url)
    monkeypatch.setattr("sightline.doctor.command.service_url", lambda: url)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which nothing runs, with a model that needs nothing."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    (tmp_path / "models.toml").write_text(ECHO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run_at(f"http://127.0.0.1:{free_port()}", monkeypatch)
    return tmp_path


@pytest.fixture
def doctor(place: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:  # noqa: ARG001
    def typed(*options: str) -> dict[str, dict[str, str]]:
        code = main(["doctor", "--json", *options])
        told = json.loads(capsys.readouterr().out)
        assert (code, told["ok"]) in ((0, True), (1, False))
        assert told["ok"] is all(check["state"] != "problem" for check in told["checks"])
        assert [check for check in told["checks"] if check["state"] != "ok" and not check["fix"]] == []
        return {check["about"]: check for check in told["checks"]}

    return typed


def unsound(found: dict[str, dict[str, str]]) -> dict[str, str]:
    """The state of each finding that is not ok."""
    return {about: check["state"] for about, check in found.items() if check["state"] != "ok"}


def test_healthy_machine_before_its_first_start(doctor: Doctor, place: Path) -> None:
    found = doctor()
    assert unsound(found) == {}
    assert "`sightline run` starts" in found["redis"]["said"]
    assert not (place / "data").exists(), "it changes nothing"


def test_shipped_model_is_well_without_a_models_file(doctor: Doctor, place: Path) -> None:
    (place / "models.toml").unlink()
    found = doctor()
    assert unsound(found) == {}
    assert found["model sightline/tiny"]["said"] == "its files are there"


def test_home_that_cannot_be_written_is_no_fault(
    doctor: Doctor, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "models.toml").unlink()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert unsound(doctor()) == {}


def test_people_read_each_problem_with_its_advice(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}REDIS__URL", f"redis://:swordfish@127.0.0.1:{free_port()}/0")
    assert (main(["doctor"]), (place / "data").exists()) == (1, False)
    said = capsys.readouterr().out
    at, *_ = (at for at, line in enumerate(said.splitlines()) if line.startswith("problem  redis"))
    assert "→ start it, or correct SIGHTLINE_REDIS__URL" in said.splitlines()[at + 1]
    assert "swordfish" not in said


@pytest.mark.parametrize("url", ["no url", "ftp://here"])
def test_what_is_no_url_is_a_wrong_argument(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLIENT_URL, raising=False)
    assert main(["doctor", "--url", url]) == 2


def test_wrong_setting_is_the_only_thing_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}QUEUE__LEASE_S", "soon")
    assert unsound(found := doctor()) == {"settings": "problem"}
    assert "SIGHTLINE_QUEUE__LEASE_S" in found["settings"]["said"]


def test_missing_package_for_traces_is_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    without_traces(monkeypatch)
    assert "-e '.[traces]'" in doctor()["settings"]["said"]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@pytest.mark.parametrize(
    ("said", "state", "fix"),
    [
        ({"appendonly": "yes"}, "ok", ""),
        ({"appendonly": "yes", "maxmemory": "500mb"}, "ok", ""),
        ({"appendonly": "no"}, "warning", "appendonly yes"),
        ({"maxmemory-policy": "allkeys-lru"}, "problem", "maxmemory-policy noeviction"),
        ({"maxmemory": "1mb"}, "problem", "raise its maxmemory"),
        ({"requirepass": "another"}, "problem", "write its password"),
    ],
)
def test_redis_of_the_settings_is_looked_at(
    doctor: Doctor,
    server: RedisServer,
    said: dict[str, str],
    state: str,
    fix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"{PREFIX}REDIS__URL", server.url())
    with Redis(port=server.port, decode_responses=True) as client:
        before = {name: client.config_get(name)[name] for name in said}
        for name, value in said.items():
            client.config_set(name, value)
        try:
            found = doctor()["redis"]
        finally:
            for name, value in before.items():
                client.config_set(name, value)
    assert (found["state"], fix in found["fix"]) == (state, True)


def test_records_of_another_layout_are_named(
    doctor: Doctor, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}REDIS__URL", server.url())
    with Redis(port=server.port) as client:
        client.sadd("sl2:lanes", "model.m")
        try:
            found = doctor()["redis"]
        finally:
            client.delete("sl2:lanes")
    assert found["state"] == "problem"
    assert "let the release that wrote them end its jobs" in found["fix"]


def test_redis_that_cannot_be_used_is_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster() as server:
        monkeypatch.setenv(f"{PREFIX}REDIS__URL", server.url())
        assert "is a cluster" in doctor()["redis"]["said"]
    with redis_server("--rename-command", "FCALL", "") as server:
        monkeypatch.setenv(f"{PREFIX}REDIS__URL", server.url())
        assert "that has FUNCTION and FCALL" in doctor()["redis"]["fix"]
    with redis_server() as server, Redis(port=server.port) as client:
        allowed = ["+info", "+time", "+hget", "+dbsize", "+exists"]
        client.acl_setuser("reader", enabled=True, passwords="+swordfish", keys="*", commands=allowed)
        monkeypatch.setenv(f"{PREFIX}REDIS__URL", f"redis://reader:swordfish@127.0.0.1:{server.port}/0")
        assert "rights that docs/transport.md lists" in doctor()["redis"]["fix"]


@pytest.mark.parametrize("rows", ["[[models]]\nid = 7\n", "no TOML"])
def test_models_file_with_a_fault_is_named(doctor: Doctor, place: Path, rows: str) -> None:
    (place / "models.toml").write_text(rows)
    assert unsound(doctor()) == {"models file": "problem"}


def test_model_that_is_not_here_is_named_unless_the_hub_may_have_it(doctor: Doctor, place: Path) -> None:
    sources = ("./no", "/no", "org/m")
    rows = [f'[[models]]\nid = "org/{at}"\nsource = "{it}"\n' for at, it in enumerate(sources)]
    (place / "models.toml").write_text("\n".join(rows))
    assert unsound(doctor()) == {"model org/0": "problem", "model org/1": "problem"}


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("model.safetensors", None, "there are no weights (model.safetensors)"),
        ("config.json", None, "config.json is missing"),
        ("config.json", "nothing", "is not JSON (Expecting value: line 1 column 1 (char 0))"),
        ("generation_config.json", "[]", "generation_config.json is no JSON object"),
        ("model.safetensors", "<html>", "is no safetensors file"),
        ("tokenizer.json", None, "there is no tokenizer (tokenizer.json)"),
        ("processor_config.json", None, "there is no image processor (preprocessor_config.json)"),
    ],
)
def test_file_that_keeps_a_model_from_loading_is_named(
    doctor: Doctor, place: Path, file: str, content: str | None, fault: str
) -> None:
    path = shutil.copytree(TINY, place / "model") / file
    path.unlink() if content is None else path.write_text(content)
    (place / "models.toml").write_text('[[models]]\nid = "org/m"\nsource = "model"\n')
    found = doctor()["model org/m"]
    assert (found["state"], found["said"].endswith(fault)) == ("problem", True)


def test_half_a_download_of_weights_is_found_out(doctor: Doctor, place: Path) -> None:
    path = shutil.copytree(TINY, place / "model") / "model.safetensors"
    whole = path.stat().st_size
    os.truncate(path, whole - 100)
    (place / "models.toml").write_text('[[models]]\nid = "org/m"\nsource = "model"\n')
    sizes = f"(holds {whole - 100} bytes of the {whole} that its header names)"
    assert doctor()["model org/m"]["said"] == f"{path.parent}: model.safetensors is cut off {sizes}"


def test_what_only_a_load_finds_is_found_before_it(doctor: Doctor, place: Path) -> None:
    def row(name: str, file: str = "config.json", more: str = "", **keys: Any) -> str:
        path = shutil.copytree(TINY, place / name) / file
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))
        return f'[[models]]\nid = "org/{name}"\nsource = "{name}"\n{more}'

    text = json.loads((TINY / "config.json").read_text())["text_config"]
    deeper = {"text_config": text | {"num_hidden_layers": text["num_hidden_layers"] + 1}}
    rows = [row("whole"), row("deeper", **deeper), row("odd", dtype="float7")]
    rows += [row("wordless", "tokenizer.json", model=None)]
    # Its own code is not run.
    rows += [row("trusted", more="trust_remote_code = true\n", **deeper)]
    (place / "models.toml").write_text("\n".join(rows))
    found = doctor()
    words = {"deeper": "its weights lack", "odd": "float7", "wordless": "its processor"}
    assert unsound(found) == {f"model org/{name}": "problem" for name in words}
    assert all(word in found[f"model org/{name}"]["said"] for name, word in words.items())


def test_trial_that_ends_early_is_no_broken_model(
    doctor: Doctor, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "models.toml").unlink()
    monkeypatch.setattr(models, "COMMAND", (sys.executable, "-c", "raise SystemExit('no room')"))
    found = doctor()
    assert unsound(found) == {"models": "warning"}
    assert found["models"]["said"].endswith("sightline/tiny: no room")


def driver(place: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = place / gpus.PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=":")


H200, BROKEN = 'echo "0, NVIDIA H200, 140000, 143771, 9.0"', 'echo "no driver"; exit 9'
CPU, CUDA = "cuda = None", "cuda = '13.0'"


@pytest.mark.parametrize(
    ("script", "torch", "row", "state"),
    [
        ("", CUDA, "", "ok"),
        ("", CUDA, 'engine = "vllm"', "ok"),
        ("", CUDA, 'device = "cuda"', "problem"),
        ("", CUDA, 'device_map = { model = 0, lm_head = "cpu" }', "problem"),
        (H200, CUDA, 'device = "cuda"', "ok"),
        (f'{H200}; echo "WARNING: infoROM is corrupted"', CUDA, "", "ok"),
        (BROKEN, CUDA, 'device = "cuda"', "problem"),
        (BROKEN, CUDA, "", "warning"),
        (H200, CPU, 'device = "cuda"', "problem"),
        (H200, CPU, "", "warning"),
        (H200, CPU, 'device = "cpu"', "ok"),
        (H200, CPU, 'engine = "vllm"', "ok"),
    ],
)
def test_device_is_there_for_models_that_need_it(
    doctor: Doctor,
    place: Path,
    script: str,
    torch: str,
    row: str,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver(place, script or "exit 0", monkeypatch)
    package = place / "packages/torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('importing it takes seconds')")
    (package / "version.py").write_text(torch)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(package.parent)
    (place / "models.toml").write_text(f'[[models]]\nid = "org/m"\nsource = "org/m"\n{row}\n')
    assert unsound(doctor()) == ({} if state == "ok" else {"device": state})


def test_port_that_another_program_has_is_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0)
        run_at(f"http://127.0.0.1:{taken.getsockname()[1]}", monkeypatch)
        monkeypatch.setattr(services, "PATIENCE_S", 0.1)
        assert "sightline run --port" in doctor()["port"]["fix"]
    assert doctor()["port"]["state"] == "ok"


def test_service_that_should_run_and_does_not_is_named(doctor: Doctor) -> None:
    found = doctor("--url", f"http://127.0.0.1:{free_port()}")
    assert unsound(found) == {"port": "problem"}
    assert found["port"]["fix"].startswith("start it")


def test_data_folder_that_cannot_be_written_is_named(
    doctor: Doctor, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "data").touch()
    assert unsound(doctor()) == {"data folder": "problem"}
    (place / "data").unlink()
    monkeypatch.setattr(machine, "SCARCE", 2**60)
    assert "make room" in doctor()["data folder"]["fix"]


@pytest.mark.parametrize(("why", "cure"), [(errno.ENOSPC, "make room"), (errno.EACCES, "chown")])
def test_full_disk_is_told_apart_from_missing_rights(
    doctor: Doctor, why: int, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert cure in doctor()["data folder"]["fix"]


def test_machine_of_a_fleet_needs_no_data_folder(
    doctor: Doctor, place: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "data").touch()
    monkeypatch.setenv(f"{PREFIX}REDIS__URL", server.url())
    monkeypatch.setenv(f"{PREFIX}BLOBS__URL", str(place))
    assert "data folder" not in doctor()
    monkeypatch.setenv(f"{PREFIX}BLOBS__URL", str(place / "none"))
    assert doctor()["pictures"]["said"].endswith("No such file or directory")


@pytest.mark.parametrize(("reached", "state"), [(True, "ok"), (False, "problem")])
def test_object_store_is_well_if_it_can_be_listed(
    doctor: Doctor, reached: bool, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks in its own thread: one of an asynchronous call aborts a process that ends before it."""

    def listed(_: object) -> None:
        if not reached:
            raise OSError("no route to host")

    monkeypatch.setenv(f"{PREFIX}BLOBS__URL", "s3://a-bucket/a-prefix")
    monkeypatch.setattr("obstore.list_with_delimiter", listed)
    monkeypatch.delattr("obstore.list_with_delimiter_async")
    assert doctor()["pictures"]["state"] == state


HEALTH = {"status": "ok", "store": "reachable", "blobs": {"kind": "folder", "state": "reachable"}}
NO_STORE, NO_BLOBS = HEALTH | {"store": "read_only"}, HEALTH | {"blobs": {"state": "unreachable"}}
ANSWERED = httpx.Response(200, json={})


def refused(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": f"It is {code}.", "code": code}})


def listed(*states: str) -> httpx.Response:
    rows = [
        {"id": f"org/{state}", "residency": {"state": state, "reason": "no such file"}} for state in states
    ]
    return httpx.Response(200, json={"data": rows})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[httpx.Request]]:
    """Has a made-up service answer these, and records what it is asked."""

    def serve(health: Any, *answers: httpx.Response | Exception) -> list[httpx.Request]:
        requests = list[httpx.Request]()
        replies = dict(zip(("/v1/models", "/v1/chat/completions"), answers, strict=False))

        def reply(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            if request.url.path == "/health":
                return httpx.Response(200, json=health)
            answer = replies[request.url.path]
            if isinstance(answer, Exception):
                raise answer
            return answer

        transport = httpx.MockTransport(reply)
        made_up = lambda url, verify: httpx.Client(base_url=url, transport=transport)  # noqa: ARG005, E731
        monkeypatch.setattr(services, "_client", made_up)
        return requests

    return serve


@pytest.mark.parametrize(
    ("served", "state", "word"),
    [
        ((HEALTH, listed("resident"), ANSWERED), "ok", "org/resident answered a question in"),
        ((HEALTH, listed("cold", "resident"), ANSWERED), "ok", "org/resident answered"),
        ((HEALTH, listed("cold", "no_worker")), "ok", "no model is in memory"),
        ((HEALTH, listed("loading")), "ok", "it loads its models"),
        ((HEALTH, listed("no_worker")), "problem", "no model has a worker"),
        ((HEALTH, listed("failed")), "problem", "org/failed cannot be loaded: no such file"),
        ((HEALTH, refused(401, "invalid_api_key")), "ok", "asks for keys"),
        ((HEALTH, listed("resident"), refused(403, "insufficient_scope")), "ok", "asks for keys"),
        ((HEALTH, listed("resident"), refused(503, "model_paused")), "warning", "It is model_paused."),
        ((HEALTH, listed("resident"), refused(500, "internal_error")), "problem", "It is internal_error."),
        ((HEALTH, listed("resident"), httpx.ReadTimeout("late")), "warning", "no answer within 60 s"),
        ((NO_STORE,), "problem", "its Redis is read_only"),
        ((NO_BLOBS,), "problem", "its blob store is unreachable"),
    ],
)
def test_running_service_answers_one_question(
    doctor: Doctor,
    asked: Callable[..., list[httpx.Request]],
    served: tuple[Any, ...],
    state: str,
    word: str,
) -> None:
    asked(*served)
    found = doctor()
    assert unsound(found) == ({} if state == "ok" else {"service": state})
    assert word in found["service"]["said"]


def test_question_leaves_no_job_and_is_about_a_picture(
    doctor: Doctor, asked: Callable[..., list[httpx.Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLIENT_KEY, "sl_key")
    requests = asked(HEALTH, listed("resident"), ANSWERED)
    doctor()
    assert [it.url.path for it in requests] == ["/health", "/v1/models", "/v1/chat/completions"]
    assert [it.headers.get("authorization") for it in requests] == [None, *["Bearer sl_key"] * 2]
    body = json.loads(requests[-1].content)
    assert (body["store"], body["messages"][0]["content"][0]["type"]) == (False, "image_url")


def test_another_program_on_the_port_is_not_sent_the_key(
    doctor: Doctor, asked: Callable[..., list[httpx.Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLIENT_KEY, "sl_key")
    requests = asked({"status": "up"})
    doctor()
    assert {it.headers.get("authorization") for it in requests} == {None}
