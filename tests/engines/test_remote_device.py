"""A model on a device of its own: nothing that a step computes with is left on the CPU.

No GPU runs these tests. A device that torch is told of stands for one: see tests/support/remote_device.py.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FAMILIES = ("qwen2-vl", "mistral3", "lfm2-vl")
"""Three-dimensional positions; pictures of any size; recurrent states. The shipped model is a LLaVA."""
SHARED = "computes prompts together and along with steps"
APART = "computes prompts one by one"


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    """By a process of its own: the device cannot be taken back."""
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, *command], cwd=root, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = _run("-m", "tests.support.remote_device_crowd", str(tmp_path_factory.mktemp("far")), *FAMILIES)
    assert found.returncode == 0, found.stderr[-4000:]
    told: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("name", ["shipped", *FAMILIES])
def test_a_crowd_on_a_device_is_answered_as_one_by_one_on_the_cpu(name: str, told: dict[str, Any]) -> None:
    assert told[name]["crowd"] == told[name]["alone"]


@pytest.mark.parametrize("name", ["shipped", *FAMILIES])
def test_a_device_is_no_reason_to_batch_less(name: str, told: dict[str, Any]) -> None:
    """What fails there is given up by the certificate, and nobody's answer changes."""
    reason = told[name]["reason"]
    assert (APART if name == "lfm2-vl" else SHARED) in reason
    assert "reuses beginnings of prompts and encoded pictures" in reason


def test_a_model_on_two_devices_is_answered_as_on_one(told: dict[str, Any]) -> None:
    """What attends in each layer lies where the layer does, also where a step takes a prompt along."""
    crowd = told["spread"]["crowd"]
    assert crowd == told["shipped"]["alone"][: len(crowd)]
    assert SHARED in told["spread"]["reason"]


def test_an_operand_left_on_the_cpu_would_be_noticed() -> None:
    found = _run(
        "-c", "import torch, tests.support.remote_device; torch.ones(2, device='far') + torch.ones(2)"
    )
    assert "expected all tensors to be on the same device" in found.stderr
