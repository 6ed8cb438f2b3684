"""How long until a tiny model serves? Two minutes.

By turns a worker starts as a program of its own (`cold`) and as a fork of a process that has imported what it
needs (`warm`). A call that waits for the model is sent when the worker is asked for.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.load import Caller
from benchmarks.frame.services import TINY, Installation, free_port, opened
from benchmarks.frame.statistics import Bound
from shared.store import jobs
from shared.store.script import connect
from sightline.serving import processes
from sightline.serving.child import Command, Process
from sightline.serving.fork_server import ForkServer
from sightline.serving.interpreter import PYTHON, with_our_packages

ROUNDS = 7
MODEL = f"""
[[models]]
id = "tiny"
source = "{TINY}"
engine = "auto"
dtype = "float32"
max_new_tokens = 8
"""
READY_S, ANSWER_S = 1.0, 2.0
Moments = dict[str, float]


class Machine(Installation):
    """An API on a port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODEL)
        self.port = free_port()

    def start(self) -> None:
        self.add(self.records)
        self.api(self.port)
        self.wait_until(f"http://127.0.0.1:{self.port}/health")

    def command(self, process: processes.Process) -> Command:
        log = self.folder / f"{process.name}.log"
        env = with_our_packages({**self.environment, **process.env})
        return Command(process.name, (*PYTHON, "-m", *process.argv), env, Path.cwd(), log, process.grace_s)

    def started(self, start: Callable[[Command], Process]) -> Moments:
        """Return after how many seconds a worker was ready, and when a call was answered."""
        row, store = self.models.rows[0], connect(self.records.settings)
        wanted, lane = self.command(processes.worker(self.settings, row)), jobs.lane(self.settings, row.lane)
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(self._call)
            worker = start(wanted)
            try:
                while not store.run(lane).ready:
                    time.sleep(0.005)
                ready = time.monotonic()
                moments = {"ready": ready - began, "first answer": answered.result() - began}
            finally:
                worker.terminate()
                self.until(lambda: worker.poll() is not None, "it ends")
        self.until(lambda: not store.run(lane).ready, "it is gone")
        return moments

    def _call(self) -> float:
        # Another text each time: a cached answer would show nothing.
        body = json.dumps({"inputs": f"What is this? {time.monotonic()}"}).encode()
        with closing(Caller(self.port, more={"x-wait-for-model": "true"})) as caller:
            caller.call("POST", "/models/tiny", body)
        return time.monotonic()


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    ways: dict[str, list[Moments]] = {"cold": [], "warm": []}
    with opened(Machine) as machine:
        fork_server = machine.command(processes.fork_server(machine.settings, machine.models.rows))
        with closing(ForkServer(fork_server)) as server:
            # The first of each reads files that are not in memory yet.
            for number in range(arguments.rounds + 1):
                for way, start in (("cold", Command.start), ("warm", server.fork)):
                    moments = machine.started(start)
                    ways[way] += [moments] if number else []
                    say(f"{way}: {moments}")
    figures = {
        way: {name: round(median(one[name] for one in rounds), 3) for name in rounds[0]}
        for way, rounds in ways.items()
    }
    warm = figures["warm"]
    bounds = [
        Bound("warm: asked for until ready", warm["ready"], READY_S, "s"),
        Bound("warm: asked for until a first answer", warm["first answer"], ANSWER_S, "s"),
    ]
    return report.Findings(figures, _picture(figures), bounds, summary=json.dumps(figures))


def _picture(figures: dict[str, dict[str, float]]) -> Figure:
    figure, panel = report.figure(size=(8, 2.5))
    for way, row in figures.items():
        panel.barh([f"{way}: {name}" for name in row], list(row.values()), label=way)
    panel.invert_yaxis()
    report.label(panel, "seconds since the worker was asked for")
    return figure


if __name__ == "__main__":
    command.main("start", __doc__, measure, rounds=(ROUNDS, "of both"))
