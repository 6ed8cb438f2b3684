"""How much memory each process took at most, over all its restarts."""

import asyncio
from contextlib import suppress

import psutil

from benchmarks.batches.site import Site

EACH_S = 0.25


class Memory:
    """Resident memory in MB of a million bytes, by process."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.idle = self._now()
        self.most = dict(self.idle)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EACH_S)
            for name, used in self._now().items():
                self.most[name] = max(used, self.most.get(name, 0.0))

    def _now(self) -> dict[str, float]:
        found = {}
        for name, pid in self._site.pids.items():
            with suppress(psutil.NoSuchProcess):
                found[name] = psutil.Process(pid).memory_info().rss / 1e6
        return found
