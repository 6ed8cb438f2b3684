"""`sightline doctor` tells the GPU as its driver does, and what that means for the models."""

from pathlib import Path

import pytest

from shared.models import Model
from sightline.doctor import gpu, models
from sightline.doctor.check import State

TINY = Path(__file__).parents[2] / "models/tiny"


def driver(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / gpu.PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ('echo "0, NVIDIA H200, 140000, 143771"', "ok", "0: NVIDIA H200, 140000 of 143771 MiB free"),
        ('echo "0, NVIDIA GB10, [N/A], [N/A]"; echo "WARNING: infoROM is corrupted"', "ok", "0: NVIDIA GB10"),
        ("exit 15", "problem", "ended with 15"),
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


def test_a_driver_that_fails_is_no_problem_where_nobody_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(tmp_path, "exit 9", monkeypatch)
    (found,) = gpu.look([Model(id="org/m", source="org/m", device="cpu")])
    assert found.state == "warning"


def test_weights_that_a_gpu_takes_need_no_room_beside_it() -> None:
    def state(device: str, *, gpu: bool) -> list[State]:
        model = Model(id="org/m", source=str(TINY), device=device)
        return [check.state for check in models.look([model], 0.5, gpu=gpu)]

    assert (state("auto", gpu=True), state("cuda:1", gpu=True)) == (["ok"], ["ok"])
    assert (state("auto", gpu=False), state("cpu", gpu=True)) == (["problem"], ["problem"])


def test_a_model_that_wants_a_gpu_where_there_is_none_is_a_problem() -> None:
    wanting = Model(id="org/m", source="org/m", device="cuda")
    assert [check.state for check in gpu.look([wanting], list)] == ["problem"]
    assert [check.state for check in gpu.look([Model(id="org/m", source="org/m")], list)] == ["ok"]
