"""How much memory the processes of the service have taken at most since a watch began, children included."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

LIMIT_MB = 300
CHILD = 25 * 2**20
"""A decoder that has nothing to do; bytes."""


class Watch:
    """Of processes by name. The kernel keeps the peaks, so that no moment is missed; Linux only.

    Of a child that was started meanwhile, what it took until it was ready is no growth.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before: dict[int, int] = {}
        for process in self._all():
            # A decoder that strangers broke before may end at any moment.
            with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                resident = _resident(process)
                Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")
                self._before[process.pid] = resident

    def growth_mb(self) -> dict[str, float]:
        """Peaks over what was before."""
        found: dict[str, float] = {}
        for name, process in self._processes.items():
            for number, one in enumerate((process, *process.children(recursive=True))):
                with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                    grown = _peak(one.pid) - self._before.get(one.pid, CHILD)
                    found[f"{name} {number}"] = grown / 2**20
        return found

    def _all(self) -> list[psutil.Process]:
        return [one for p in self._processes.values() for one in (p, *p.children(recursive=True))]


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
