"""Is the engine right and fast on a GPU? At most seven minutes, also on a machine with torch alone.

In order: the engines' tests on the device; many callers.
Each part is a process with a limit of time, and what it found is written when it ends, because such a machine
may be taken away; what libraries print goes into gpu.log.
`--device cpu --quick 1` tries the command itself.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from tempfile import TemporaryFile
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from benchmarks.batching import servers
from benchmarks.batching.driver import WrongAnswerError, drive, point
from benchmarks.batching.servers import Part
from benchmarks.frame import command, report
from benchmarks.frame.services import ROOT, NotStartedError
from shared.cgroup import processors

NAME, ENGINES = "gpu", ROOT / "tests" / "engines"
LIMITS_S = {"tests": 270, "callers": 150}
"""The parts, and seconds of each."""
GRACE_S = 10.0
"""For a part whose time is over to end what it started."""
MOST_PROCESSES = 14
"""Processes of the tests; each has a context of its own on the device."""
CROWDS, WARM_UP, SECONDS, ASKED = (1, 16, 64), 4, 8.0, 3
"""Callers at once; questions before those that count; a crowd's time; questions of each caller."""
SAMPLE_S = 0.1
"""A sample of the driver covers a sixth of a second or more."""
Row = dict[str, Any]


def main() -> int:
    options = _options()
    if options.part:
        for row in globals()[options.part](options):
            print(json.dumps(row), flush=True)
        return 0
    if options.device != "cpu" and not torch.cuda.is_available():
        print("torch finds no CUDA device here. `--device cpu --quick 1` tries the command.", file=sys.stderr)
        return 2
    command.end_on_sigterm()
    say, file = command.progress(), options.out / f"{NAME}.json"
    options.out.mkdir(parents=True, exist_ok=True)
    found = about(options.device)
    for name, limit_s in LIMITS_S.items():
        rows = part(name, limit_s, options)
        found[name] = counted(rows) if name == "tests" else rows
        say(f"{name}: {json.dumps(found[name])}")
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    report.draw(file.with_suffix(".svg"), picture(found))
    return 1 if "failed" in json.dumps(found) else 0


def part(name: str, limit_s: float, options: command.Options) -> list[Row]:
    """Return what a part finds in its time; the last row says why it failed, if it did."""
    argv = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--device", options.device]
    argv += ["--quick", str(options.quick)]
    with (options.out / f"{NAME}.log").open("a") as log, TemporaryFile("w+") as out:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=log, start_new_session=True)  # noqa: S603
        try:
            code = process.wait(limit_s)
            why = f"exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            why = "its time is over"
        finally:
            end(process)
        out.seek(0)
        rows = list[Row]()
        for line in out:
            # A library may print, too, and the last line may be half of one.
            with suppress(ValueError):
                rows.append(json.loads(line))
    return [*rows, {"failed": why}] if why else rows


def end(process: "subprocess.Popen[bytes]") -> None:
    """End it and all that it started."""
    with suppress(subprocess.TimeoutExpired):
        process.terminate()
        process.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def counted(rows: list[Row]) -> Row:
    """Return how many tests ended in which way, and the rows of those that failed."""
    counts = Counter(row["outcome"] for row in rows if "outcome" in row)
    return {**counts, "rows": [row for row in rows if row.get("outcome") not in ("passed", "skipped")]}


def about(device: str) -> Row:
    card = {} if device == "cpu" else {"card": torch.cuda.get_device_name(device)}
    return report.origin() | {"device": device, "torch": torch.__version__, "cuda": torch.version.cuda} | card


class Outcomes:
    """A plugin of pytest: it reports each test's end at once."""

    def __init__(self) -> None:
        self._out = sys.stdout

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or not report.passed:
            self._print(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._print(report)

    def _print(self, report: Any) -> None:
        crash = getattr(report.longrepr, "reprcrash", None)
        # The results are committed, and no path of the machine with them.
        why = str(crash.message if crash else report.longrepr or "").replace(f"{ROOT}/", "")[:500]
        row = {"test": report.nodeid, "outcome": report.outcome, "why": why}
        print(json.dumps(row), file=self._out, flush=True)


def tests(options: command.Options) -> Iterator[Row]:
    """Warnings of another torch are no failures here."""
    os.environ |= {"TEST_DEVICE": options.device, "OMP_NUM_THREADS": "1"}
    left_out = () if find_spec("av") else ("test_videos.py",)
    files = [file for file in sorted(ENGINES.rglob("test_*.py")) if file.name not in left_out]
    count = min(MOST_PROCESSES, processors())
    arguments = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "-n", str(count), "--dist", "worksteal"]
    chosen = [ENGINES / "test_transcript.py"] if options.quick else files
    outcomes = Outcomes()
    with redirect_stdout(sys.stderr):
        pytest.main([*arguments, "--continue-on-collection-errors", *map(str, chosen)], plugins=[outcomes])
    yield from ()


def callers(options: command.Options) -> Iterator[Row]:
    model = ("tiny", "float32") if options.quick else ("mid", "bfloat16")
    part = Part("continuous", 1, options.device, *model)
    about = {"system": part.system, "model": part.model, "dtype": part.dtype}
    try:
        with servers.serving(part, Path(sys.executable)) as server:
            _crowd(server, part, WARM_UP, range(WARM_UP))
            for clients in CROWDS[:1] if options.quick else CROWDS:
                numbers = range(1000 * clients, 1000 * clients + ASKED * max(clients, 2))
                yield about | _crowd(server, part, clients, numbers)
    except (NotStartedError, WrongAnswerError) as error:
        yield about | {"failed": str(error)[-1500:]}


def _crowd(server: servers.Serving, part: Part, clients: int, numbers: range) -> Row:
    before, messages = server.usage.cpu_s(), server.messages(numbers, part.longest)
    with device_load(part.device) as samples:
        driven = drive(server.port, messages, clients=clients, seconds=SECONDS)
    found = point(driven, cpu_s=server.usage.cpu_s() - before, rss_mb=server.usage.rss_mb())
    server.usage.wait_for_rest()
    return found | {"device_busy": round(mean(samples) / 100, 3) if samples else None}


@contextmanager
def device_load(device: str) -> Iterator[list[int]]:
    """Sample in percent how much of the time the GPU computes anything, as its driver says; none on a CPU."""
    samples, over = list[int](), threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            samples.append(torch.cuda.utilization(0))

    thread = threading.Thread(target=watch, name="device load")
    if device != "cpu":
        thread.start()
    try:
        yield samples
    finally:
        over.set()
        if device != "cpu":
            thread.join()


def picture(found: Row) -> Figure:
    """Draw tokens a second by callers."""
    drawing, panel = report.figure(size=(6, 4))
    rows = [row for row in found["callers"] if "clients" in row]
    panel.loglog([row["clients"] for row in rows], [row["tokens_per_s"] for row in rows], marker="o")
    panel.set_xticks(CROWDS)
    report.label(panel, "callers at once", "tokens per second")
    return drawing


def _options() -> argparse.Namespace:
    quick = (0, "1 = a little of each part, with the tiny model")
    options = command.parser(NAME, __doc__, device=("cuda", "torch's name of the device"), quick=quick)
    options.add_argument("--part", choices=LIMITS_S, help=argparse.SUPPRESS)
    values = options.parse_args()
    if values.out == report.FOLDER and values.quick:
        values.out = ROOT / "data" / "benchmarks"
    return values


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # A worker's threads wait for nudges.
    os._exit(code)
