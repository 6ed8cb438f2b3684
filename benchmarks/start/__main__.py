"""What starting a tiny model takes, part by part: two minutes.

By turns a worker starts as a program of its own (`cold`) and as a fork of a process that has imported what it
needs (`warm`). A call that waits for the model is sent when the worker is asked for.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.load import Caller
from benchmarks.frame.services import TINY, Installation, free_port, opened
from benchmarks.frame.statistics import Bound
from benchmarks.start import MARK
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
LAST, READY, ANSWER = "Celery consumes", "ready", "first answer"
READY_S, ANSWER_S = 1.0, 2.0
Moments = dict[str, float]


class Machine(Installation):
    """An API, and a fork server that is warm."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODEL, {"PYTHONUNBUFFERED": "1"})
        self.port = free_port()

    def start(self) -> None:
        self.add(self.records)
        self.api(self.port)
        self.wait_until(f"http://127.0.0.1:{self.port}/health")

    def command(self, process: processes.Process) -> Command:
        argv = ("benchmarks.start.parts" if part == "worker.app" else part for part in process.argv)
        log = self.folder / f"{process.name}.log"
        log.unlink(missing_ok=True)
        env = with_our_packages({**self.environment, **process.env})
        return Command(process.name, (*PYTHON, "-m", *argv), env, Path.cwd(), log, grace_s=process.grace_s)

    @contextmanager
    def fork_server(self) -> Iterator[ForkServer]:
        with closing(
            ForkServer(self.command(processes.fork_server(self.settings, self.models.rows)))
        ) as server:
            yield server

    def started(self, start: Callable[[Command], Process]) -> Moments:
        """When each part of a worker's start had ended, in seconds, and when a call was answered."""
        wanted, moments = self.command(processes.worker(self.settings, self.models.rows[0])), Moments()
        caller = threading.Thread(target=self._call, args=(moments,))
        began = time.monotonic()
        caller.start()
        worker = start(wanted)
        try:
            caller.join()
            self.until(lambda: LAST in marks(wanted.log), "it consumes")
        finally:
            worker.terminate()
            self.until(lambda: worker.poll() is not None, "it ends")
        return {part: moment - began for part, moment in (marks(wanted.log) | moments).items()}

    def _call(self, moments: Moments) -> None:
        # Another text each time: an answer that is kept would show nothing.
        body = json.dumps({"inputs": f"What is this? {time.monotonic()}"}).encode()
        Caller(self.port, more={"x-wait-for-model": "true"}).call("POST", "/models/tiny", body)
        moments[ANSWER] = time.monotonic()


def marks(log: Path | None) -> Moments:
    lines = log.read_text(errors="replace").splitlines() if log and log.exists() else []
    found = (line.removeprefix(MARK).split(" ", 1) for line in lines if line.startswith(MARK))
    return {part: float(moment) for moment, part in found}


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    ways: dict[str, list[Moments]] = {"cold": [], "warm": []}
    with opened(Machine) as machine, machine.fork_server() as server:
        starts = {"cold": Command.start, "warm": server.fork}
        # The first of each reads files that are not in memory yet.
        for number in range(arguments.rounds + 1):
            for way, start in starts.items():
                ways[way].append(machine.started(start))
                say(f"{way}: ready {ways[way][-1][READY]:.2f} s, answer {ways[way][-1][ANSWER]:.2f} s")
            if not number:
                ways = {way: [] for way in ways}
    medians = {
        way: {part: median(one[part] for one in all_) for part in all_[0]} for way, all_ in ways.items()
    }
    figures = {way: {"until": rounded(ends), "parts": rounded(parts(ends))} for way, ends in medians.items()}
    warm = medians["warm"]
    bounds = [
        Bound("warm: asked for until ready", round(warm[READY], 3), READY_S, "s"),
        Bound("warm: asked for until a first answer", round(warm[ANSWER], 3), ANSWER_S, "s"),
    ]
    return report.Findings(figures, _picture(figures), bounds, summary=json.dumps(figures, indent=1))


def parts(ends: Mapping[str, float]) -> Mapping[str, float]:
    """What each took, where they follow each other."""
    ordered = sorted((moment, part) for part, moment in ends.items() if part != ANSWER)
    return {part: moment - before for (before, _), (moment, part) in pairwise([(0.0, ""), *ordered])}


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _picture(figures: Mapping[str, Any]) -> Figure:
    figure, axes = report.figure(size=(11, 5))
    names = [*figures["cold"]["parts"]]
    for number, (way, found) in enumerate(figures.items()):
        heights = [place + 0.4 * number for place in range(len(names))]
        axes.barh(heights, [found["parts"][name] for name in names], 0.4, color=f"C{number}", label=way)
    axes.set_yticks([place + 0.2 for place in range(len(names))], names)
    axes.invert_yaxis()
    report.label(axes, "seconds of each part")
    return figure


if __name__ == "__main__":
    command.main("start", __doc__, measure, rounds=(ROUNDS, "of both"))
