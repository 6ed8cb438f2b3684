"""`sightline doctor` names what is broken here and what to do about it, and ends with 1."""

import errno
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.model_files import description_faults, weight_faults
from shared.models import Model
from shared.settings import PREFIX, ApiSettings, BlobSettings
from sightline.cli import main
from sightline.doctor import diagnosis, dry_load, machine, models, records, running, workers
from sightline.doctor.check import Check, State
from tests.support.packages import without_traces
from tests.support.ports import free_port

TINY = Path(__file__).parents[3] / "models/tiny"
GIB = 2**30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder to break."""
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def states(checks: Iterator[Check]) -> dict[str, State]:
    return {check.about: check.state for check in checks}


def faults(folder: Path) -> list[str]:
    return [*description_faults(folder), *weight_faults(folder)]


def test_a_whole_model_has_no_fault() -> None:
    assert faults(TINY) == []


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "there are no weights (model.safetensors)"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (
            lambda folder: (folder / "config.json").write_text("nothing"),
            "is not JSON (Expecting value: line 1 column 1 (char 0))",
        ),
        (
            lambda folder: (folder / "generation_config.json").write_text("[]"),
            "generation_config.json is no JSON object",
        ),
        (lambda folder: (folder / "model.safetensors").write_text("<html>"), "is no safetensors file"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "there is no tokenizer (tokenizer.json)"),
        (
            lambda folder: (folder / "processor_config.json").unlink(),
            "there is no image processor (preprocessor_config.json)",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named_before_anything_is_started(
    folder: Path, broken: Callable[[Path], object], fault: str
) -> None:
    broken(folder)
    assert any(said.endswith(fault) for said in faults(folder))
    (found,) = models.checks([Model(id="org/m", source=str(folder))], None, gpu=False)
    assert found.state == "problem"


def test_half_a_download_of_weights_is_found_out(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(whole - 100)
    sizes = f"holds {whole - 100} bytes of the {whole} that its header names"
    assert faults(folder) == [f"model.safetensors is cut off ({sizes})"]


def test_what_only_a_load_finds_is_found_before_it(tmp_path: Path) -> None:
    def row(name: str, file: str = "config.json", **keys: Any) -> Model:
        path = shutil.copytree(TINY, tmp_path / name) / file
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))
        return Model(id=f"org/{name}", source=str(path.parent), dtype="auto")

    text = json.loads((TINY / "config.json").read_text())["text_config"]
    deeper = row("deeper", text_config=text | {"num_hidden_layers": text["num_hidden_layers"] + 1})
    rows = [
        row("whole"),
        deeper,
        deeper.model_copy(update={"id": "org/trusted", "trust_remote_code": True}),
        row("odd", dtype="float7"),
        row("wordless", "tokenizer.json", model=None),
    ]
    found = {check.about: check for check in models.checks(rows, None, gpu=False)}
    assert {about: check.state for about, check in found.items()} == {
        "model org/whole": "ok",
        "model org/deeper": "problem",
        # Its own code is not run.
        "model org/trusted": "ok",
        "model org/odd": "problem",
        "model org/wordless": "problem",
    }
    assert "its weights lack" in found["model org/deeper"].said
    assert "float7" in found["model org/odd"].said
    assert "its processor" in found["model org/wordless"].said


DYING = """
import json, os, signal, sys
for line in sys.stdin:
    if "dies" in line:
        os.kill(os.getpid(), signal.SIGSEGV)
    print(json.dumps(""), flush=True)
"""


def test_a_row_whose_trial_load_dies_hides_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_load, "COMMAND", (sys.executable, "-c", DYING))
    rows = [Model(id=id, source="org/m") for id in ("my/first", "org/dies", "my/last", "my/dies")]
    words = "a trial load ended its process with signal 11"
    assert dry_load.refusals(rows) == {"org/dies": words, "my/dies": words}


def test_a_machine_without_memory_for_a_load_on_trial_is_no_broken_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dry_load, "COMMAND", (sys.executable, "-c", "raise SystemExit('no room')"))
    found = list(models.checks([Model(id="org/m", source=str(TINY))], None, gpu=False))
    assert [(check.about, check.state) for check in found] == [("models", "warning"), ("model org/m", "ok")]
    assert found[0].said.endswith("no room")


def test_weights_without_room_in_memory_are_named_with_both_figures() -> None:
    # A load on trial would take seconds.
    (found,) = models.checks([Model(id="org/m", source=str(TINY), trust_remote_code=True)], 0.5, gpu=False)
    assert found.state == "problem"
    assert "0 MB of memory are free" in found.said or "1 MB of memory are free" in found.said


def test_models_of_which_not_one_has_room_are_named_and_not_those_that_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = [Model(id=f"org/{name}", engine="echo") for name in "ab"]
    monkeypatch.setattr("sightline.serving.devices.free_memory_bytes", lambda **_: 399 * 2**20)
    assert states(models.check_all(pair)) == {"models": "problem"}
    monkeypatch.setattr("sightline.serving.devices.free_memory_bytes", lambda **_: 401 * 2**20)
    assert states(models.check_all(pair)) == {}


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere"])
def test_a_model_whose_folder_is_not_there_is_a_problem(source: str) -> None:
    (found,) = models.checks([Model(id="org/m", source=source)], None, gpu=False)
    assert found.state == "problem"


def test_a_record_store_that_hangs_is_not_asked_a_second_time(
    place: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(PREFIX + "REDIS__URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        monkeypatch.setattr("sightline.doctor.diagnosis.stored_fleet", pytest.fail)
        assert main(["doctor", *place]) == 1
    assert "problem  redis" in capsys.readouterr().out


def test_a_port_that_another_program_has_is_named_with_that_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = machine.check_port("127.0.0.1", port, answers=False)
    assert found.state == "problem"
    assert Path(sys.executable).name[:6] in found.said
    assert machine.check_port("127.0.0.1", free_port(), answers=False).state == "ok"


def test_a_data_folder_that_cannot_be_written_or_has_no_room_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    def state(path: Path, free: int) -> list[State]:
        return [check.state for check in machine.check_data(path, lambda _: free)]

    assert state(file / "data", 100 * GIB) == ["problem"]
    assert state(tmp_path / "data", 100 * GIB) == ["ok"]
    assert state(tmp_path / "data", 2 * GIB) == ["warning"]
    assert state(tmp_path / "data", 2**20) == ["problem"]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("why", "cure"), [(errno.ENOSPC, "make room"), (errno.EDQUOT, "make room"), (errno.EACCES, "chown")]
)
def test_whoever_has_a_full_disk_is_not_sent_to_change_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int, cure: str
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    (found,) = machine.check_data(tmp_path)
    assert (found.state, os.strerror(why) in found.said) == ("problem", True)
    assert cure in found.fix


def test_pictures_that_cannot_be_kept_are_a_problem_and_why_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    def found(path: Path, free: int = 100 * GIB) -> Check:
        (check,) = machine.check_blobs(BlobSettings(url=str(path)), lambda _: free)
        return check

    assert found(tmp_path).state == "ok"
    assert (found(tmp_path, 2**20).state, found(tmp_path, 2 * GIB).state) == ("problem", "warning")
    assert found(tmp_path / "none").said.endswith("No such file or directory")
    assert found(file).said.endswith("Not a directory")


@pytest.mark.parametrize(
    ("host", "api", "expected"),
    [
        ("127.0.0.1", {}, {"access": "ok"}),
        ("127.0.0.1", {"admin_key": "k" * 32}, {"access": "ok"}),
        ("192.0.2.7", {}, {"access": "problem"}),
        ("192.0.2.7", {"open": True}, {"access": "warning"}),
        ("192.0.2.7", {"admin_key": "k" * 32}, {"access": "ok", "transport": "warning"}),
    ],
)
def test_an_api_that_others_reach_asks_for_keys(
    host: str, api: dict[str, Any], expected: dict[str, State]
) -> None:
    assert states(machine.check_access(ApiSettings.model_validate(api), host)) == expected


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
        (
            {"queued": WAITING, "workers": [], "state": "cold"},
            "ok",
            "loads the model when it is asked for; 3",
        ),
        ({"state": "failed", "reason": "no such file"}, "problem", "no such file"),
        ({"paused": True}, "warning", "paused"),
        ({"workers": [{"state": "loading"}], "state": "loading"}, "warning", "loading"),
    ],
)
def test_workers_that_take_nothing_are_named(said: dict[str, Any], state: State, word: str) -> None:
    (found,) = workers.checks([line(**said)])
    assert found.state == state
    assert word in found.said


@pytest.mark.parametrize("health", [{"store": "read_only"}, {"store": "unreachable"}, None])
def test_nobody_is_told_to_start_workers_who_live_beside_a_record_store_on_a_full_disk(
    health: dict[str, Any] | None, place: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could not write for so long that they look dead in it, also to the API that runs there."""
    full = Check("persistence", "problem", "its last write to its disk failed", "make room")
    dead = [line(queued=WAITING, workers=[], state="no_worker")]
    monkeypatch.setenv(PREFIX + "REDIS__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(running.Api, "health", lambda _: health)
    monkeypatch.setattr(running.Api, "fleet", lambda _: dead)
    monkeypatch.setattr(records, "checks", lambda *_: iter([] if health else [full]))
    monkeypatch.setattr(diagnosis, "stored_fleet", lambda *_: (dead, 0))

    found = states(diagnosis.examine(diagnosis.Place("127.0.0.1", int(place[1]), tmp_path)))

    assert found["workers"] == "warning"
    assert not found.keys() & {"workers of org/m", "couriers"}


def test_queues_of_models_that_the_running_service_serves_are_not_called_unnamed(
    place: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()

    def unnamed(_: object, models: list[Model]) -> dict[str, int]:
        asked.update(model.lane for model in models)
        return {"model.org--renamed": 3}

    monkeypatch.setenv(PREFIX + "REDIS__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(running.Api, "health", lambda _: {"store": "reachable"})
    monkeypatch.setattr(running.Api, "fleet", lambda _: [line()])
    monkeypatch.setattr(records, "checks", lambda *_: iter(()))
    monkeypatch.setattr(diagnosis, "stored_fleet", lambda *_: ([], 1))
    monkeypatch.setattr(diagnosis, "unnamed_queues", unnamed)

    found = states(diagnosis.examine(diagnosis.Place("127.0.0.1", int(place[1]), tmp_path)))

    assert found["queue model.org--renamed"] == "problem"
    assert "model.org--m" in asked


def test_workers_of_one_model_with_different_weights_are_named() -> None:
    alike = {"state": "ready", "rows": 4, "busy": 1, "pid": 7, "host": "here", "fingerprint": "a" * 32}
    other = alike | {"pid": 8, "host": "there", "fingerprint": "b" * 32}
    loading = {"state": "loading", "pid": 9, "host": "there", "fingerprint": ""}
    assert len(list(workers.checks([line(workers=[alike, alike, loading])]))) == 1
    _, found = workers.checks([line(workers=[alike, other, loading])])
    assert (found.state, found.about) == ("warning", "weights of org/m")
    assert "bbbbbbbb has process 8 on there" in found.said


def test_a_row_that_the_running_service_does_not_know_is_named() -> None:
    file = [Model(id=name, engine="echo") for name in ("org/m", "org/new")]
    (found,) = workers.check_unserved(file, [line()])
    assert (found.state, found.about) == ("warning", "workers of org/new")


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


def test_a_machine_of_a_fleet_is_not_blamed_for_a_data_folder_that_it_does_not_use(
    place: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").touch()
    monkeypatch.setenv(PREFIX + "BLOBS__URL", str(tmp_path))
    at = diagnosis.Place("127.0.0.1", int(place[1]), tmp_path / "data")
    assert states(diagnosis.examine(at))["data folder"] == "problem", "the records would lie there"
    monkeypatch.setenv(PREFIX + "REDIS__URL", f"redis://127.0.0.1:{free_port()}/0")
    assert "data folder" not in states(diagnosis.examine(at))


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


def test_traces_that_would_end_every_process_are_not_passed_over(
    place: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_traces(monkeypatch)
    assert main(["doctor", *place]) == 1
    assert "-e '.[traces]'" in capsys.readouterr().out
