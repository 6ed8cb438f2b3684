"""One part after the other, each in a process of its own, within a time for all of them together."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.proof.parts import Part

GRACE_S = 60
"""How long a part that is told to stop may take to end what it started."""


@dataclass(frozen=True)
class Ran:
    """`exit` is 0 where every target was met, 1 where one was missed, None where time ran out."""

    took_s: float
    exit: int | None


def run(part: Part, folder: Path, left_s: float, say: Callable[[str], None], *, quick: bool) -> Ran:
    """Its results lie in the folder where it ended in time."""
    argv = (*part.argv, *(part.quick if quick else ()), "--out", str(folder))
    say(f"{part.title}: python -m {' '.join(part.argv)}")
    began = time.monotonic()
    process = subprocess.Popen((sys.executable, "-m", *argv), cwd=ROOT)  # noqa: S603
    try:
        code = process.wait(max(left_s, 0)) if left_s > 0 else None
    except subprocess.TimeoutExpired:
        code = None
    finally:
        _end(process)
    return Ran(round(time.monotonic() - began, 1), code)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
