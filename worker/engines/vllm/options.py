"""Translates what a models file says about a model served by vLLM into vLLM's AsyncEngineArgs."""

from pathlib import Path
from typing import Any

from pydantic import Field

from shared.models import Model
from shared.request import Frozen
from shared.settings import SettingsError

# Fields of a row that concern transformers only.
NOT_ITS = ("quantization_config", "packed", "attention", "cache", "device", "device_map")
MOST_LOGPROBS = 20


class VllmOptions(Frozen):
    """What a models file may say under `options` for this engine; vLLM's own names where it has one."""

    cache_mb: int | None = Field(
        None, ge=1, description="Memory for the cache in MiB; what is left of the share by default."
    )
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="Share of the device's memory, on a CPU of main memory."
    )
    tensor_parallel_size: int = Field(1, ge=1, description="Devices that one model is spread over.")
    max_num_batched_tokens: int | None = Field(
        None, ge=1, description="Tokens of one step, prompts included."
    )
    quantization: str | None = Field(None, description="Method, where the model's files do not name it.")
    enforce_eager: bool = Field(False, description="Compile nothing: a faster start, slower steps.")


def refuse_others(model: Model) -> None:
    """Raises SettingsError for fields that mean nothing to this engine."""
    names = [name for name in NOT_ITS if name in model.model_fields_set]
    if names:
        raise SettingsError(
            f"model {model.id}: {', '.join(names)}: not for the engine vllm; it decides for itself, "
            f"or by its options ({', '.join(VllmOptions.model_fields)})"
        )


def arguments(
    model: Model, options: VllmOptions, *, folder: Path, context_length: int, pictures: int
) -> dict[str, Any]:
    """What AsyncEngineArgs is given. `pictures` is how many one request may have."""
    fields = options.model_dump(exclude_none=True)
    if options.cache_mb is not None:
        fields["kv_cache_memory_bytes"] = fields.pop("cache_mb") * 2**20
    return {
        "model": str(folder),
        "dtype": model.dtype,
        "max_num_seqs": model.rows,
        "max_model_len": context_length,
        "trust_remote_code": model.trust_remote_code,
        "limit_mm_per_prompt": {"image": pictures, "video": 0},
        # vLLM keeps this cache twice, in step with the order of prompts; ours come from many threads.
        "mm_processor_cache_gb": 0,
        "max_logprobs": MOST_LOGPROBS,
        "disable_log_stats": True,
        **fields,
    }
