"""How many rows the batch may hold and how long they may become, given the memory for the KV cache."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from worker.engines.continuous.ration import Ration

log = logging.getLogger(__name__)
# The cache takes this part of the memory that is free once the model is loaded, unless `cache_mb` is set.
SHARE = 0.5
# The window makes a quarter more columns than are in use, and a growing layer's old and new memory coexist.
SLACK = 1.5
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
# Bytes assumed free where the system does not say.
MODEST = 2 * 2**30


class Capacity:
    """At most `rows` at once and `tokens` of cache; each row takes what the longest may come to need."""

    def __init__(self, rows: int, tokens: int) -> None:
        self.tokens = tokens
        self._rows = Ration(rows)

    @property
    def rows(self) -> int:
        return self._rows.now

    def admits(self, lengths: list[int]) -> bool:
        """Whether rows that may become this long fit beside each other; one alone always does."""
        if len(lengths) == 1:
            return True
        return len(lengths) <= self.rows and len(lengths) * max(lengths) <= self.tokens

    def shrink(self, rows: int) -> None:
        """Memory ran out beside more rows."""
        before = self.rows
        self._rows.shrink(rows)
        if self.rows < before:
            log.warning("rows are now %d of %d", self.rows, self._rows.most)

    def lasted(self, rows: int) -> None:
        """Memory lasted for a step of so many rows."""
        if self._rows.lasted(rows):
            log.info("rows are now %d of %d", self.rows, self._rows.most)


def cache_tokens(column_bytes: Mapping[torch.device, int], budget: int) -> int:
    """Tokens of cache that `budget` bytes hold."""
    return int(budget / SLACK) // max(1, sum(column_bytes.values()))


def cache_budget(column_bytes: Mapping[torch.device, int]) -> int:
    """Bytes for the cache, of what is free now; each device holds its layers' part: the fullest decides."""
    total = sum(column_bytes.values())
    parts = (int(SHARE * _free(device)) * total // own for device, own in column_bytes.items())
    # A cache of recurrent states alone has no columns.
    return min(parts, default=MODEST)


def _free(device: torch.device) -> int:
    if device.type != "cuda":
        return min(_available(), _cgroup_left())
    # The driver counts as taken what torch keeps from loading and from the proof.
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def _available() -> int:
    if not MEMINFO.exists():
        return MODEST
    line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def _cgroup_left() -> int:
    """Bytes left below the container's limit, page cache counted as free; without limit a huge number."""
    limit = CGROUP / "memory.max"
    if not limit.exists() or limit.read_text().strip() == "max":
        return 2**63
    counted = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    used = int((CGROUP / "memory.current").read_text())
    pages = int(counted["active_file"]) + int(counted["inactive_file"])
    return max(0, int(limit.read_text()) - used + pages)
