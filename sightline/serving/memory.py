"""What memory this machine has for the service, asked before anything is started."""

import resource
from collections.abc import Sequence
from pathlib import Path

from shared.models import Model
from sightline.exits import CommandError, Exit

# Measured: record server, API, courier and supervisor together; a worker with torch and no weights.
BASE_MB = 300
TORCH_MB = 350
ECHO_MB = 100
# Measured likewise: the addresses that such a worker needs at least, beyond the memory that it takes.
TORCH_ADDRESSES_MB = 500
CGROUP = Path("/sys/fs/cgroup")
# What a container's memory is told by: under version 2 of cgroups, and under version 1.
LIMIT = ("memory.max", "memory/memory.limit_in_bytes")
USED = ("memory.current", "memory/memory.usage_in_bytes")
STAT = ("memory.stat", "memory/memory.stat")


def check_memory(
    models: Sequence[Model], meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP
) -> None:
    """Raise CommandError where what is free (swap included), or what one process may have, is too little.

    Silent where nobody can tell.
    """
    _check_addresses(models)
    free = free_mb(meminfo, cgroup)
    needed = BASE_MB + sum(_worker_mb(model) for model in models)
    if free is not None and free < needed:
        raise CommandError(
            Exit.MEMORY,
            f"Not enough memory: the service needs about {needed:.0f} MB, {free:.0f} MB are free; "
            "end other programs or serve fewer models.",
        )


def _check_addresses(models: Sequence[Model]) -> None:
    """Where a worker's end (`ulimit -v`) libraries raise whatever they know, or crash."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = [_worker_mb(model) + TORCH_ADDRESSES_MB for model in models if model.engine != "echo"]
    if limit != resource.RLIM_INFINITY and limit / 2**20 < max(needed, default=0):
        raise CommandError(
            Exit.MEMORY,
            f"Not enough memory: a worker needs about {max(needed):.0f} MB of addresses and may have "
            f"{limit / 2**20:.0f}; raise that limit (ulimit -v).",
        )


def free_mb(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> float | None:
    """Memory that a new process may take, swap included; None where nobody can tell."""
    free = [
        mb for mb in (_machine_mb(meminfo, "MemAvailable", "SwapFree"), _cgroup_mb(cgroup)) if mb is not None
    ]
    return min(free, default=None)


def whole_mb(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> float | None:
    """All memory of this machine, or of this container if it has less; None where nobody can tell."""
    whole = [mb for mb in (_machine_mb(meminfo, "MemTotal"), _limit_mb(cgroup)) if mb is not None]
    return min(whole, default=None)


def _worker_mb(model: Model) -> float:
    if model.engine == "echo":
        return ECHO_MB
    folder = Path(model.source)
    weights = sum(f.stat().st_size for f in folder.glob("*.safetensors")) if folder.is_dir() else 0
    return TORCH_MB + weights / 1e6


def _machine_mb(meminfo: Path, *counted: str) -> float | None:
    try:
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return sum(int(rows[name].split()[0]) for name in counted) / 1024
    except (OSError, KeyError, ValueError):
        return None


def _cgroup_mb(cgroup: Path) -> float | None:
    """What a container's limit leaves; the page cache it counts can be given back."""
    limit_mb = _limit_mb(cgroup)
    try:
        used = int(_told(cgroup, USED))
        stat = dict(line.split() for line in _told(cgroup, STAT).splitlines())
        cache = int(stat["inactive_file"]) + int(stat["active_file"])
    except (OSError, KeyError, ValueError):
        return None
    return None if limit_mb is None else limit_mb + (cache - used) / 2**20


def _limit_mb(cgroup: Path) -> float | None:
    try:
        return int(_told(cgroup, LIMIT)) / 2**20
    except (OSError, ValueError):
        return None


def _told(cgroup: Path, names: tuple[str, str]) -> str:
    """What stands in the first of two files that is there. Raises OSError where neither is."""
    newer, older = (cgroup / name for name in names)
    return (newer if newer.exists() else older).read_text()
