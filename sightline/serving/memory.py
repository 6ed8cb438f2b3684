"""Checks that this machine has enough memory for the service, before anything is started."""

import resource
from collections.abc import Sequence
from pathlib import Path

from shared.cgroup import free_memory_bytes
from shared.models import Model
from sightline.exits import CommandError, Exit

# Measured: record server, API, courier and supervisor together; a worker with torch and no weights.
BASE_MB = 300
TORCH_MB = 350
ECHO_MB = 100
# Measured likewise: the least address space that such a worker needs beyond the memory it takes.
TORCH_ADDRESSES_MB = 500


def check_memory(models: Sequence[Model]) -> None:
    """Raise CommandError where free memory (swap included), or the limit of one process, is too little."""
    _check_addresses(models)
    free = free_memory_bytes(swap=True) / 2**20
    needed = BASE_MB + sum(_worker_mb(model) for model in models)
    if free < needed:
        raise CommandError(
            Exit.MEMORY,
            f"Not enough memory: the service needs about {needed:.0f} MB, {free:.0f} MB are free; "
            "end other programs or serve fewer models.",
        )


def _check_addresses(models: Sequence[Model]) -> None:
    """Check `ulimit -v` beforehand: out of address space, a worker's libraries raise odd errors or crash."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = [_worker_mb(model) + TORCH_ADDRESSES_MB for model in models if model.engine != "echo"]
    if limit != resource.RLIM_INFINITY and limit / 2**20 < max(needed, default=0):
        raise CommandError(
            Exit.MEMORY,
            f"Not enough memory: a worker needs about {max(needed):.0f} MB of addresses and may have "
            f"{limit / 2**20:.0f}; raise that limit (ulimit -v).",
        )


def _worker_mb(model: Model) -> float:
    if model.engine == "echo":
        return ECHO_MB
    folder = Path(model.source)
    weights = sum(f.stat().st_size for f in folder.glob("*.safetensors")) if folder.is_dir() else 0
    return TORCH_MB + weights / 1e6
