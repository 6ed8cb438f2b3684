"""All client processes: they ask at the same moment, and their results are merged."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from benchmarks.processes import ROOT


@dataclass(frozen=True)
class Seen:
    """Results of all streams of one turn; `client_share` is the busiest client process's use of a core."""

    events: int
    per_s: float
    first_ms: list[float]
    client_share: float


class Callers:
    """Client processes that live as long as the benchmark."""

    def __init__(self, processes: list["subprocess.Popen[str]"]) -> None:
        self._processes = processes
        for process in processes:
            _answer(process)

    def turn(self, url: str, name: str, streams: int, words: int) -> Seen:
        """`streams` at once, shared between the processes."""
        count = len(self._processes)
        for at, process in enumerate(self._processes):
            share = streams // count + (at < streams % count)
            asked = {"url": url, "name": f"{name}-{at}", "streams": share, "words": words}
            pipe = cast(IO[str], process.stdin)
            pipe.write(json.dumps(asked) + "\n")
            pipe.flush()
        turns = [_answer(process) for process in self._processes]
        took_s = max(turn["ended"] for turn in turns) - min(turn["began"] for turn in turns)
        events = sum(turn["events"] for turn in turns)
        shares = (turn["cpu_s"] / (turn["ended"] - turn["began"]) for turn in turns)
        return Seen(events, events / took_s, [ms for turn in turns for ms in turn["first_ms"]], max(shares))


@contextmanager
def opened(count: int) -> Iterator[Callers]:
    with ExitStack() as stack:
        yield Callers([stack.enter_context(_started()) for _ in range(count)])


@contextmanager
def _started() -> Iterator["subprocess.Popen[str]"]:
    argv = (sys.executable, "-m", "benchmarks.clients.caller")
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.kill()


def _answer(process: "subprocess.Popen[str]") -> Any:
    """Raises RuntimeError where the process has ended: what it wrote stands on standard error."""
    line = cast(IO[str], process.stdout).readline()
    if not line:
        raise RuntimeError("a client process has ended")
    answer: Mapping[str, Any] | str = json.loads(line)
    return answer
