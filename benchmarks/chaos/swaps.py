"""Is anything lost when models that do not fit together are swapped while things die? Five minutes.

Three models are asked for by turns, on two nodes that have room for about one each. A fault strikes every
second: agents are killed, drained and paused, their fork servers killed, and their workers, while they load,
serve and leave; the record server is killed and paused, APIs and couriers are killed, a model is removed and
comes back. A fourth model cannot be loaded, and none may leave for it. Then every answer is held against the
only right one, and no process may be left.
"""

import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from matplotlib.figure import Figure

from benchmarks.chaos.__main__ import FLAWS, Outcome, common, draw_jobs, run
from benchmarks.chaos.faults import attempts_of_runs
from benchmarks.chaos.history import MODEL
from benchmarks.chaos.services import QUEUE, ROWS, STEP_S, ChaosServices
from benchmarks.frame import command, report
from benchmarks.frame.statistics import Bound, percentiles
from shared.errors import Unavailable
from shared.store.script import connect
from shared.store.workers import fleet

JOBS, RATE = 3000, 15
NAMES = (MODEL, "chaos/second", "chaos/third")
BROKEN = "chaos/broken"
NODES, ROOM_MB, NEED_MB = 2, 60, 40
"""A worker takes some 40 MB: see `Devices.measure`."""
LOAD_S, BOOT_S = 0.5, 2.0
"""A load of `echo`, and how old a worker is by the time it has said that it loads."""
FORK_SERVER = "worker.fork_server"
LEFT, FAILED = "its room was needed", "cannot be loaded"
"""What a node says."""
JOBS_PER_SWAP = 100
"""More, and the run shows nothing."""
DECK = {
    "node_killed": 3,
    "node_drained": 2,
    "node_paused": 2,
    "fork_server_killed": 1,
    "loading_killed": 3,
    "copy_killed": 3,
    "leaving_killed": 3,
    "redis_killed": 1,
    "redis_paused": 1,
    "api_killed": 5,
    "courier_killed": 4,
    "model_removed": 1,
    "burst": 1,
}
"""One round, as the deck of `benchmarks.chaos.faults`."""
OPTIONS = {"step_s": STEP_S, "load_s": LOAD_S}
ROW = {"id": MODEL, "engine": "echo", "rows": ROWS, "memory_mb": NEED_MB, "options": OPTIONS}
MODELS = "".join(
    f"""
[[models]]
id = "{name}"
engine = "echo"
rows = {ROWS}
memory_mb = {NEED_MB}
options = {{ step_s = {STEP_S}, load_s = {LOAD_S}{', fail = "it is broken"' if name == BROKEN else ""} }}
"""
    for name in (BROKEN, *NAMES)
)
ROOM = {"MEMORY_MB": f"{ROOM_MB}", "MIN_RESIDENT_S": "1", "MAX_WAIT_S": "10"}


class SwapServices(ChaosServices):
    """Nodes `node-1`, `node-2` in place of workers."""

    row = ROW
    names = NAMES

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS)
        self.environment |= {f"SIGHTLINE_NODE__{name}": value for name, value in ROOM.items()}
        self._store = connect(self.records.settings)

    def start_workers(self) -> int:
        for number in range(1, NODES + 1):
            self._run(f"node-{number}", ("sightline", "node"), {}, restarts=True)
        return 1

    def children(self, kind: str = "") -> list[psutil.Process]:
        """All that the nodes have started, or those that such a fault may hit."""
        found: list[psutil.Process] = []
        with suppress(psutil.Error, Unavailable):
            nodes = [psutil.Process(pid) for node in self.of_kind("node") if (pid := node.pid)]
            if not kind:
                return [child for node in nodes for child in node.children(recursive=True)]
            servers = [child for node in nodes for child in node.children() if FORK_SERVER in child.cmdline()]
            if kind == "fork_server_killed":
                return servers
            states = self._states()
            for worker in [worker for server in servers for worker in server.children()]:
                # Who leaves has said that it is gone; one that has just begun has said nothing yet.
                young = time.time() - worker.create_time() < BOOT_S
                state = states.get(worker.pid, "loading" if young else "leaving")
                found += [worker] if kind in ("copy_killed", f"{state}_killed") else []
        return found

    def _states(self) -> dict[int, str]:
        """Of the workers by process, as they reported them."""
        lanes = [row.lane for row in self.models.rows]
        seen = self._store.run(fleet(self.settings, lanes))
        return {worker.pid: worker.state for one in seen for worker in one.workers}


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    outcome = run(arguments.jobs, RATE, say, SwapServices, DECK)
    figures = _figures(outcome)
    return report.Findings(figures, _picture(outcome), bounds(figures), summary=str(figures))


def _figures(outcome: Outcome) -> dict[str, Any]:
    attempts = [attempt for run in attempts_of_runs(outcome.history.stories) for attempt in run]
    return outcome.verdict.counts | {
        "swaps": sum(LEFT in line for line in outcome.lines),
        "failed_loads": sum(FAILED in line for line in outcome.lines),
        "evictions_by_broken": sum(f"{LEFT} for {BROKEN}" in line for line in outcome.lines),
        "copies_that_answered": len({attempt.worker for attempt in attempts}),
        "ended_in_s": percentiles(_waits(outcome), "p50", "p95", "p99"),
        "processes_left": outcome.children_left,
        "settings": QUEUE | ROOM,
        **common(outcome),
    }


def bounds(figures: dict[str, Any]) -> list[Bound]:
    none = [Bound(name, figures[name], 0, "jobs") for name in FLAWS]
    swaps = figures["jobs"] / JOBS_PER_SWAP
    return [
        *none,
        Bound("evictions_by_broken", figures["evictions_by_broken"], 0, "models"),
        Bound("processes_left", figures["processes_left"], 0, "processes"),
        Bound("swaps", figures["swaps"], swaps, "models", at_least=True),
    ]


def _waits(outcome: Outcome) -> list[float]:
    """Seconds from a job's acceptance to its end."""
    lives = (story.life for story in outcome.history.stories if story.life)
    return sorted(ended - created for created, ended in lives)


def _picture(outcome: Outcome) -> Figure:
    figure, (left, right) = report.figure(2, (12, 4.5), width_ratios=(3, 2))
    draw_jobs(left, outcome)
    report.shares(right, _waits(outcome), "jobs")
    report.label(right, "s from a job's acceptance to its end", "share", loc="lower right")
    return figure


if __name__ == "__main__":
    faults = textwrap.fill(f"The faults: {', '.join(DECK)}.", 110)
    command.main("chaos.swaps", f"{__doc__}\n{faults}\n", measure, jobs=(JOBS, "questions asked"))
