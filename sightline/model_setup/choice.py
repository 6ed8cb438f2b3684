"""How `sightline run MODEL` serves a model: its device, number format, engine and rows, and why."""

import json
import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from shared.cgroup import free_memory_bytes
from shared.models import Model
from sightline.exits import CommandError, Exit
from sightline.gpus import DriverError, Gpu, nvidia_devices, without_cuda

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Engine = Literal["auto", "continuous", "sequential", "vllm"]
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""
REQUEST_TOKENS = 4096
"""Tokens of a request with a large picture and a long answer, by which rows are counted."""
CACHE_SHARES = {"vllm": 0.9, "auto": 0.33}
"""The part of the memory beside the weights that holds requests; our engine moves them when they grow."""
MOST_ROWS = {"vllm": 128, "auto": 64}
MOST_CPU_ROWS = 16
BFLOAT16_CAPABILITY = 8.0
"""CUDA's compute capability from which a device computes in bfloat16."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Weights:
    """What a model's files say: `size` in bytes, `dtype` None if they do not say it or are quantised.

    `token_bytes` is what a token takes in the cache in 16 bits, None if the config does not say.
    """

    size: int
    dtype: Dtype | None
    network: str
    context_length: int | None
    token_bytes: int | None

    def in_format(self, dtype: Dtype) -> int:
        """Return the bytes of the weights once they are loaded."""
        if dtype == "auto" or self.dtype is None:
            return self.size
        return self.size * WIDTHS[dtype] // WIDTHS[self.dtype]


def weights(folder: Path, size: int) -> Weights:
    """Read `config.json`. Raises CommandError if it describes no model."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text: dict[str, Any] = config.get("text_config") or config.get("llm_config") or config
        names = [str(part.get(name)) for part in (config, text) for name in ("dtype", "torch_dtype")]
        network = str((config.get("architectures") or ["?"])[0])
        longest, quantised = text.get("max_position_embeddings"), bool(config.get("quantization_config"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CommandError(Exit.USAGE, f"{folder} holds no model: config.json: {error}.") from None
    known = (name.removeprefix("torch.") for name in names)
    dtype: Any = next((name for name in known if name in WIDTHS and not quantised), None)
    return Weights(size, dtype, network, longest if isinstance(longest, int) else None, _token_bytes(text))


def _token_bytes(text: dict[str, Any]) -> int | None:
    try:
        heads = text["num_attention_heads"]
        width = text.get("head_dim") or text["hidden_size"] // heads
        return int(2 * 2 * text["num_hidden_layers"] * (text.get("num_key_value_heads") or heads) * width)
    except (LookupError, TypeError, ArithmeticError):
        return None


@dataclass(frozen=True)
class Device:
    """Where a worker computes: one of `count` devices, each with `free` bytes."""

    name: str
    free: int
    count: int = 1
    gpu: bool = True
    bfloat16: bool = True
    reason: str = ""

    def shared_by(self, workers: int) -> "Device":
        """Return the device with the part of its memory that each of these workers gets."""
        each = -(-workers // self.count)
        return replace(self, free=self.free // each)


def device() -> Device:
    """Return the GPU with the least room if torch can use it, otherwise the CPU."""
    cpu = Device("the CPU", free_memory_bytes(swap=True), gpu=False, bfloat16=False)
    try:
        gpus = usable_gpus()
    except DriverError as error:
        return replace(cpu, reason=f"the driver of the GPU does not answer ({error})")
    if not gpus:
        return replace(cpu, reason="there is no NVIDIA GPU to use")
    if without_cuda():
        return replace(cpu, reason=f"the torch that is installed cannot use the {gpus[0].name}")
    least = min(gpus, key=lambda gpu: gpu.free_mb or 0)
    free = cpu.free if least.free_mb is None else least.free_mb * 2**20
    able = (least.capability or BFLOAT16_CAPABILITY) >= BFLOAT16_CAPABILITY
    return Device(least.name, free, len(gpus), bfloat16=able)


def usable_gpus() -> list[Gpu]:
    """Return the GPUs that the environment leaves; one if it names them otherwise than by index.

    Raises DriverError.
    """
    if (visible := os.environ.get(VISIBLE)) is None:
        return nvidia_devices()
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if "-1" in names or not names:
        return []
    gpus = nvidia_devices()
    by_index = all(name.isdecimal() for name in names)
    return [gpu for gpu in gpus if str(gpu.index) in names] if by_index else gpus[:1]


class Choice(NamedTuple):
    """The row, and three lines that say what was chosen and why."""

    row: Model
    words: str


def choose(id: str, source: str, files: Weights, place: Device, engine: Engine | None) -> Choice:
    """Choose how to serve a model. Raises CommandError if it does not fit."""
    dtype, why_dtype = _dtype(files, place)
    loaded = files.in_format(dtype)
    if loaded > place.free:
        raise CommandError(
            Exit.MEMORY,
            f"{id} does not fit: its weights take {_amount(loaded)}, and {place.name} has "
            f"{_amount(place.free)} free. Choose a smaller or quantised one, or spread it over GPUs by a row "
            "in models.toml (docs/models.md).",
        )
    name, why_engine = (engine, "as asked") if engine else _engine(files, place)
    rows, context, why_rows = _rows(files, dtype, place, name)
    row = Model(id=id, source=source, engine=name, dtype=dtype, rows=rows, context_length=context)
    shown = files.dtype or "their own format" if dtype == "auto" else dtype
    count = f"{place.count} of " if place.count > 1 else ""
    because = f": {place.reason}" if place.reason else ""
    return Choice(
        row,
        f"model    {id}: weights of {_amount(loaded)} in {shown}, {why_dtype}\n"
        f"device   {count}{place.name} with {_amount(place.free)} free{because}\n"
        f"engine   {name}, {why_engine}; {rows} requests at once, {why_rows}",
    )


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _dtype(files: Weights, place: Device) -> tuple[Dtype, str]:
    if files.dtype is None:
        return "auto", "as its files are"
    if place.gpu and not place.bfloat16 and files.dtype != "float16":
        return "float16", "since this GPU does not compute in bfloat16"
    if place.gpu and files.dtype == "float32":
        return "bfloat16", "half of what its files take"
    if place.gpu:
        return "auto", "as its files are"
    if 2 * files.in_format("float32") <= place.free:
        return "float32", "in which a CPU's answers do not depend on what is computed beside them"
    return "bfloat16", "since float32 would take most of the memory"


def _engine(files: Weights, place: Device) -> tuple[Engine, str]:
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return "auto", "which batches in flight where the model passes its check"
    if not place.gpu:
        return "auto", "since vLLM is for a GPU"
    models = Path(spec.origin).with_name("model_executor") / "models/registry.py"
    if models.is_file() and f'"{files.network}"' in models.read_text(encoding="utf-8"):
        return "vllm", "which is installed and knows this model"
    return "auto", f"since the vLLM that is installed does not know {files.network}"


def _rows(files: Weights, dtype: Dtype, place: Device, engine: Engine) -> tuple[int, int | None, str]:
    """Return the rows, a context length if the model's own has no room in vLLM, and the reason."""
    if engine == "sequential":
        return 1, None, "one by one"
    if not files.token_bytes:
        return MOST_CPU_ROWS, None, "as no more is known"
    kind = "vllm" if engine == "vllm" else "auto"
    most = MOST_ROWS[kind] if place.gpu else MOST_CPU_ROWS
    room = CACHE_SHARES[kind] * (place.free - files.in_format(dtype))
    tokens = int(room) // (files.token_bytes * (2 if dtype == "float32" else 1))
    rows = max(1, min(most, tokens // REQUEST_TOKENS))
    own = files.context_length
    context = max(tokens // 1024 * 1024, 1024) if kind == "vllm" and own and tokens < own else None
    fitting = f"as {REQUEST_TOKENS} tokens of each fit into the memory"
    return rows, context, "as many as are of use" if rows == most else fitting
