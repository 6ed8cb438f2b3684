"""`sightline doctor` tells the GPU as its driver does, and what that means for the models."""

import sys
from pathlib import Path
from typing import Any

import pytest

from shared.models import Model
from sightline.doctor import gpu, models
from sightline.doctor.check import State

TINY = Path(__file__).parents[3] / "models/tiny"


def driver(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / gpu.PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ('echo "0, NVIDIA H200, 140000, 143771, 9.0"', "ok", "0: NVIDIA H200, 140000 of 143771 MiB free"),
        (
            'echo "0, NVIDIA GB10, [N/A], [N/A], 12.1"; echo "WARNING: infoROM is corrupted"',
            "ok",
            "0: NVIDIA GB10",
        ),
        ("exit 15", "problem", "ended with 15"),
        ('echo "NVIDIA-SMI has failed: no driver"; exit 9', "problem", "has failed: no driver"),
    ],
)
def test_the_gpu_is_told_as_its_driver_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: State, said: str
) -> None:
    driver(tmp_path, script, monkeypatch)
    monkeypatch.setattr(gpu, "without_cuda", lambda: False)
    (found,) = gpu.checks([Model(id="org/m", source="org/m", device="cuda")])
    assert found.state == state
    assert said in found.said


def test_weights_that_a_gpu_takes_need_no_room_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # A load on trial would take seconds.
    monkeypatch.setattr(models, "refusals", lambda _: {})

    def state(device: str, *, gpu: bool) -> list[State]:
        model = Model(id="org/m", source=str(TINY), device=device)
        return [check.state for check in models.checks([model], 0.5, gpu=gpu)]

    assert (state("auto", gpu=True), state("cuda:1", gpu=True)) == (["ok"], ["ok"])
    assert (state("auto", gpu=False), state("cpu", gpu=True)) == (["problem"], ["problem"])


def test_a_model_that_wants_a_gpu_where_there_is_none_is_a_problem() -> None:
    wanting = Model(id="org/m", source="org/m", device="cuda")
    spread = Model(id="org/m", source="org/m", device_map={"model": 0, "lm_head": "cpu"})
    for model in (wanting, spread):
        assert [check.state for check in gpu.checks([model], list)] == ["problem"]
    assert [check.state for check in gpu.checks([Model(id="org/m", source="org/m")], list)] == ["ok"]


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({"device": "cuda"}, "problem"),
        ({"device_map": {"": "cuda:0"}}, "problem"),
        ({}, "warning"),
        ({"device_map": "auto"}, "warning"),
        ({"device": "cpu"}, None),
        ({"device_map": {"": "cpu"}}, None),
        ({"engine": "vllm"}, None),
    ],
)
def test_a_gpu_that_the_installed_torch_cannot_use_is_told_to_who_counts_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], state: State | None
) -> None:
    """Its build for CPUs stays installed where a GPU is put in later."""
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('importing it takes seconds')")
    (package / "version.py").write_text("cuda = None")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    here = gpu.Gpu(0, "NVIDIA H200", None, None)
    model = Model(id="org/m", source="org/m", **row)
    found = [check.state for check in gpu.checks([model], lambda: [here])]
    assert found == ["ok", *filter(None, [state])]
    (package / "version.py").write_text("cuda = '13.0'")
    assert [check.state for check in gpu.checks([model], lambda: [here])] == ["ok"]
