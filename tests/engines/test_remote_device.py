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


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """From a process of its own: the device cannot be taken back."""
    module, folder = "tests.support.remote_device_crowd", str(tmp_path_factory.mktemp("far"))
    command = [sys.executable, "-m", module, folder, *FAMILIES]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    answers: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answers


@pytest.mark.parametrize("name", ["shipped", *FAMILIES])
def test_a_crowd_on_a_device_is_batched_no_less_and_answered_as_one_by_one_on_the_cpu(
    name: str, answers: dict[str, Any]
) -> None:
    """What fails there is given up by the certificate, and nobody's answer changes."""
    assert answers[name]["crowd"] == answers[name]["alone"]
    reason = answers[name]["reason"]
    assert (APART if name == "lfm2-vl" else SHARED) in reason
    assert "reuses beginnings of prompts" in reason


def test_a_model_on_two_devices_is_answered_as_on_one(answers: dict[str, Any]) -> None:
    """What attends in each layer lies where the layer does, also where a step takes a prompt along."""
    crowd = answers["spread"]["crowd"]
    assert crowd == answers["shipped"]["alone"][: len(crowd)]
    assert SHARED in answers["spread"]["reason"]


def test_an_operand_left_on_the_cpu_would_be_noticed(answers: dict[str, Any]) -> None:
    assert "expected all tensors to be on the same device" in answers["control"]
