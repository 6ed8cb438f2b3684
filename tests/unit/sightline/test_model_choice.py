"""`sightline run MODEL` serves a model as someone who knows it and the machine would, and says why."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared.models import Model
from sightline.exits import CommandError, Exit
from sightline.gpus import Gpu
from sightline.model_setup import choice as module
from sightline.model_setup.argument import ModelArgument
from sightline.model_setup.choice import Device, Weights, choose, device, weights

GB = 10**9
# Qwen3-VL-4B, from its config: 36 layers, 8 heads of 128 for keys and values.
QWEN = Weights(int(8.9 * GB), "bfloat16", "Qwen3VLForConditionalGeneration", 262_144, 2 * 2 * 36 * 8 * 128)
H100 = Device("NVIDIA H100", 79 * GB)
T4 = Device("Tesla T4", 15 * GB, bfloat16=False)
CPU = Device("the CPU", 64 * GB, gpu=False, bfloat16=False)


def chosen(files: Weights = QWEN, place: Device = H100, engine: Any = None) -> module.Choice:
    return choose("org/m", "/models/m", files, place, engine)


def sized(size: float) -> Weights:
    return Weights(int(size), "bfloat16", QWEN.network, QWEN.context_length, QWEN.token_bytes)


def vllm(monkeypatch: pytest.MonkeyPatch, folder: Path, *networks: str) -> None:
    registry = folder / "model_executor/models/registry.py"
    registry.parent.mkdir(parents=True)
    registry.write_text(json.dumps(dict.fromkeys(networks, "")))
    spec = SimpleNamespace(origin=str(folder / "__init__.py"))
    monkeypatch.setattr(module, "find_spec", lambda name: spec if name == "vllm" else None)


def test_a_gpu_with_room_serves_in_the_files_own_format_and_many_requests_at_once() -> None:
    row = chosen().row
    assert (row.engine, row.dtype, row.rows, row.context_length) == ("auto", "auto", 38, None)
    assert chosen().words.splitlines() == [
        "model    org/m: weights of 8.9 GB in bfloat16, as its files are",
        "device   NVIDIA H100 with 79.0 GB free",
        "engine   auto, which batches in flight where the model passes its check; 38 requests at once, "
        "as 4096 tokens of each fit into the memory",
    ]


def test_a_gpu_without_bfloat16_gets_float16_and_only_as_many_requests_as_its_memory_holds() -> None:
    row = chosen(place=T4).row
    assert (row.dtype, row.rows) == ("float16", 3)


@pytest.mark.parametrize(
    ("size", "dtype"), [(2 * GB, "float32"), (8.9 * GB, "float32"), (30 * GB, "bfloat16")]
)
def test_a_cpu_gets_exact_answers_unless_they_would_take_most_of_its_memory(size: float, dtype: str) -> None:
    row = chosen(sized(size), CPU).row
    assert (row.dtype, row.rows <= 16) == (dtype, True)


def test_a_model_that_cannot_fit_is_refused_with_both_sizes_before_anything_is_fetched() -> None:
    with pytest.raises(CommandError, match=r"take 140\.0 GB, and NVIDIA H100 has 79\.0 GB free") as refused:
        chosen(sized(140 * GB))
    assert refused.value.code is Exit.MEMORY


def test_quantised_weights_stay_as_their_files_are() -> None:
    files = Weights(3 * GB, None, QWEN.network, None, None)
    assert chosen(files).row.dtype == "auto"
    assert "3.0 GB in their own format" in chosen(files).words


def test_vllm_serves_what_it_knows_with_a_context_that_its_memory_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vllm(monkeypatch, tmp_path, QWEN.network)
    row = chosen(place=Device("NVIDIA L4", 22 * GB)).row
    assert row.engine == "vllm"
    assert row.context_length is not None
    assert row.context_length < 262_144, "vLLM ends its start where one request of the model's own fits not"
    assert row.rows * 4096 <= row.context_length + 4096


def test_vllm_is_not_taken_for_a_model_that_it_does_not_know_or_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vllm(monkeypatch, tmp_path, "LlavaForConditionalGeneration")
    assert chosen().row.engine == "auto"
    assert "does not know Qwen3VLForConditionalGeneration" in chosen().words
    assert chosen(place=CPU).row.engine == "auto"
    assert chosen(engine="vllm").row.engine == "vllm", "what a person asks for is done"


def test_the_fullest_gpu_decides_and_one_that_torch_cannot_use_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpus = [Gpu(0, "A100", 70_000, 80_000, 8.0), Gpu(1, "A100", 20_000, 80_000, 8.0)]
    monkeypatch.setattr(module, "nvidia_devices", lambda: gpus)
    monkeypatch.setattr(module, "without_cuda", lambda: False)
    assert (device().free, device().count) == (20_000 * 2**20, 2)
    monkeypatch.setattr(module, "without_cuda", lambda: True)
    assert (device().gpu, device().reason) == (False, "the torch that is installed cannot use the A100")


@pytest.mark.parametrize(
    "place",
    [
        {"device": "cuda:1"},
        {"device_map": "auto"},
        {"engine": "vllm", "options": {"tensor_parallel_size": 2}},
        {"engine": "echo"},
    ],
    ids=str,
)
def test_a_model_that_has_its_place_in_the_models_file_gets_it(
    monkeypatch: pytest.MonkeyPatch, place: dict[str, Any]
) -> None:
    """A worker for each GPU would see one, and not those that the row names."""
    monkeypatch.setattr(module, "nvidia_devices", lambda: [Gpu(at, "L4", 22_000, 23_000) for at in range(2)])
    monkeypatch.setattr(module, "without_cuda", lambda: False)
    wanted, plain = ModelArgument("org/model"), Model(id="org/model", source="/m")
    assert wanted.copies([plain.model_copy(update=place)]) == 1
    assert [wanted.copies(listed) for listed in ([plain], [])] == [2, 2]


def test_workers_of_one_device_are_each_sized_for_their_part_of_it() -> None:
    assert H100.shared_by(2).free == 39.5 * GB
    with pytest.raises(CommandError, match="does not fit"):
        chosen(sized(50 * GB), H100.shared_by(2))
    two = Device("A100", 79 * GB, count=2)
    assert two.shared_by(2) == two


@pytest.mark.parametrize("config", ['{"dtype": {"": "x"}, "text_config": "x"}', "[]", '{"architectures": 4}'])
def test_a_config_that_is_none_is_one_sentence(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(CommandError, match="holds no model"):
        weights(tmp_path, 0)


def test_the_shipped_models_files_are_understood() -> None:
    files = weights(Path("models/tiny"), 3_636_520)
    assert files == Weights(3_636_520, "bfloat16", "LlavaForConditionalGeneration", 2048, 2 * 2 * 3 * 5 * 32)
