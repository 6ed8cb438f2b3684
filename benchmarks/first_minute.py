"""From nothing to the first answer: the package in an empty environment, and a clone with `make run`.

Five minutes. pip's own index and cache are used, so what is cached is not downloaded again. `make containers`
prints the same of the compose file, where an engine for containers answers.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from shared import ROOT
from tests.support.installed import build
from tests.support.ports import free_port

ANSWER = "answer "
LIMIT_S = 1200
Seconds = Mapping[str, float]


def measure(_: command.Options, say: command.Say) -> report.Findings:
    ways = {"wheel": _wheel, "checkout": _checkout}
    seconds: dict[str, Seconds] = {}
    for name, way in ways.items():
        with TemporaryDirectory() as folder:
            seconds[name] = way(Path(folder))
        say(f"{name}: {', '.join(f'{phase} {taken:.1f} s' for phase, taken in seconds[name].items())}")
    return report.Findings({"seconds": seconds}, _picture(seconds))


def _wheel(folder: Path) -> Seconds:
    """Installed in an empty environment, run in an empty folder."""
    wheel, _ = build(folder / "dist")
    began = time.monotonic()
    _run([sys.executable, "-m", "venv", "environment"], folder)
    pip = ("environment/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    _run([*pip, "-c", str(ROOT / "constraints.txt"), f"{wheel}[worker,local]"], folder)
    installed = time.monotonic() - began
    (folder / "empty").mkdir()
    run = [str(folder / "environment/bin/sightline"), "run"]
    return {"install": installed, **_starts(run, "--port", folder / "empty")}


def _checkout(folder: Path) -> Seconds:
    """Cloned, with all in one command: the first start installs."""
    began = time.monotonic()
    _run(["git", "clone", "--quiet", str(ROOT), "clone"], folder)
    _run(["make", ".venv/.installed-run"], folder / "clone")
    return {"install": time.monotonic() - began, **_starts(["make", "run"], "PORT=", folder / "clone")}


def _starts(run: Sequence[str], port: str, folder: Path) -> Seconds:
    """The first answer of the first start and of the second, in seconds."""
    return {name: _answer(run, port, folder) for name in ("first start", "next start")}


def _answer(run: Sequence[str], port: str, folder: Path) -> float:
    number = str(free_port())
    argv = [*run, port + number] if port.endswith("=") else [*run, port, number]
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own commands
        argv, cwd=folder, env=_environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        if process.stdout is None:
            raise RuntimeError("its output is not read")
        return _moment(process.stdout, ANSWER) - began
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()


def _moment(output: IO[str], begin: str) -> float:
    """When a line begins so. Raises RuntimeError with all that was printed where none does."""
    printed = ""
    for line in output:
        printed += line
        if line.startswith(begin):
            return time.monotonic()
    raise RuntimeError(printed)


def _run(argv: Sequence[str], folder: Path) -> None:
    subprocess.run(argv, cwd=folder, env=_environment(), check=True, timeout=LIMIT_S)  # noqa: S603


def _environment() -> Mapping[str, str]:
    """Ours, without what would lead to this checkout."""
    foreign = ("SIGHTLINE_", "PYTHON", "VIRTUAL_ENV", "MAKE")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _picture(seconds: Mapping[str, Seconds]) -> Figure:
    figure, axes = report.figure(size=(11, 2.5))
    for row, phases in enumerate(seconds.values()):
        begin_s = 0.0
        for number, (phase, taken) in enumerate(list(phases.items())[:2]):
            axes.barh(row, taken, 0.6, begin_s, color=f"C{number}", label=phase if not row else None)
            begin_s += taken
    axes.set_yticks(range(len(seconds)), [*seconds])
    report.label(axes, "seconds from an empty environment to the first answer")
    return figure


if __name__ == "__main__":
    command.main("first_minute", __doc__, measure)
