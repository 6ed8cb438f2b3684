"""Where models compute, and the shipped model behind vLLM, started once for all tests that need it."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from shared.models import Model
from tests.engines import suite
from tests.support.device import DEVICE, on_test_device
from worker.engines.registry import create

TINY = Path(__file__).parents[2] / "models" / "tiny"
WEIGHTS = "model.safetensors"
OF_THE_CPU = {
    *("late_device", "packing", "remote_device", "threads"),
    *("vllm", "by_default_a_quarter_is_kept_and_no_more_of_main_memory_than_others_can_bear"),
    "what_changes_no_answer_shares_the_cache",
    "a_model_that_can_answer_nothing_as_its_row_says_is_never_ready",
}
"""Modules and tests of what only a CPU does, or of a stand-in for a device."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if DEVICE != "cpu":
        for item in items:
            names = (item.path.stem, item.name.partition("[")[0])
            if OF_THE_CPU & {name.removeprefix("test_") for name in names}:
                item.add_marker(pytest.mark.skip(reason=f"not on {DEVICE}"))


@pytest.fixture(scope="session", autouse=True)
def _on_test_device() -> Iterator[None]:
    with on_test_device():
        yield


@pytest.fixture(scope="session")
def vllm_row(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The eye's weights are named as vLLM 0.33 looks for them."""
    folder = tmp_path_factory.mktemp("vllm") / "tiny"
    folder.mkdir()
    for file in TINY.iterdir():
        if file.name != WEIGHTS:
            (folder / file.name).write_bytes(file.read_bytes())
    tensors = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): tensor
        for name, tensor in load_file(TINY / WEIGHTS).items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    options = {"cache_mb": 64, "enforce_eager": True}
    return Model(
        id="test/tiny", engine="vllm", source=str(folder), rows=4, max_new_tokens=48, options=options
    )


@pytest.fixture(scope="session")
def vllm(vllm_row: Model) -> Iterator[suite.Harness]:
    engine: Any = create(vllm_row).load()
    yield suite.Harness(engine, hot=2.0)
    with warnings.catch_warnings(action="ignore"):
        # Sockets that vLLM leaves open.
        engine.close()
        gc.collect()
