"""Checks that this machine has enough memory for the service, before anything is started."""

import resource
from collections.abc import Sequence
from pathlib import Path

import psutil

from shared.models import Model
from sightline.exits import CommandError, Exit

# Measured: record server, API, courier and supervisor together; a worker with torch and no weights.
BASE_MB = 300
TORCH_MB = 350
ECHO_MB = 100
# Measured likewise: the least address space that such a worker needs beyond the memory it takes.
TORCH_ADDRESSES_MB = 500
CGROUP = Path("/sys/fs/cgroup")
# The files that report a container's memory: of cgroups version 2, and of version 1.
LIMIT = ("memory.max", "memory/memory.limit_in_bytes")
USED = ("memory.current", "memory/memory.usage_in_bytes")
STAT = ("memory.stat", "memory/memory.stat")


def check_memory(models: Sequence[Model], cgroup: Path = CGROUP) -> None:
    """Raise CommandError where free memory (swap included), or the limit of one process, is too little."""
    _check_addresses(models)
    free = free_mb(cgroup)
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


def free_mb(cgroup: Path = CGROUP) -> float:
    """Memory in MB that a new process may take, swap included."""
    memory = psutil.virtual_memory()
    free = memory.available + psutil.swap_memory().free
    # macOS makes room by compressing, and files for swap as it needs them: all but what is wired.
    machine = float(max(free, memory.total - getattr(memory, "wired", memory.total))) / 2**20
    limited = _cgroup_mb(cgroup)
    return machine if limited is None else min(machine, limited)


def whole_mb(cgroup: Path = CGROUP) -> float:
    """All memory in MB of this machine, or of its container if that has less."""
    machine, limit = float(psutil.virtual_memory().total) / 2**20, _limit_mb(cgroup)
    return machine if limit is None else min(machine, limit)


def _worker_mb(model: Model) -> float:
    if model.engine == "echo":
        return ECHO_MB
    folder = Path(model.source)
    weights = sum(f.stat().st_size for f in folder.glob("*.safetensors")) if folder.is_dir() else 0
    return TORCH_MB + weights / 1e6


def _cgroup_mb(cgroup: Path) -> float | None:
    """What a container's limit leaves; the page cache counts as free, since it can be given back."""
    limit_mb = _limit_mb(cgroup)
    try:
        used = int(_first_content(cgroup, USED))
        stat = dict(line.split() for line in _first_content(cgroup, STAT).splitlines())
        cache = int(stat["inactive_file"]) + int(stat["active_file"])
    except (OSError, KeyError, ValueError):
        return None
    return None if limit_mb is None else limit_mb + (cache - used) / 2**20


def _limit_mb(cgroup: Path) -> float | None:
    try:
        return int(_first_content(cgroup, LIMIT)) / 2**20
    except (OSError, ValueError):
        return None


def _first_content(cgroup: Path, names: tuple[str, str]) -> str:
    """The content of the first of two files that exists. Raises OSError where neither does."""
    newer, older = (cgroup / name for name in names)
    return (newer if newer.exists() else older).read_text()
