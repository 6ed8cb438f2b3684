"""Whether the engine is right and fast on a GPU: at most ten minutes, also on a machine with torch alone.

In order: the engines' tests on the device; each family beside `generate()`; tokens a second and first text
of many callers, beside other servers; a step call by call and as a captured graph; whether the device waits
for pictures. Time that a part leaves is the next one's. Findings are printed, and written after each part,
beside those of parts that did not run; what the parts themselves print goes into gpu.log.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.services import ROOT
from benchmarks.gpu import parts

Row = dict[str, Any]
NAME, MODELS, CALLERS = "gpu", "models", "callers"
GRACE_S = 10.0
"""For a part whose time is over to end what it started."""
TESTS = ("engine_tests", "families")
SYSTEMS = {
    "continuous": "Sightline, engine continuous",
    "vllm": "vLLM",
    "serve": "transformers serve",
    "generate": "generate()",
    "engine": "Sightline, engine continuous",
}
NO_DEVICE = "torch finds no CUDA device here. `--device cpu --quick` tries the command itself."
PARTS = {"engine_tests": 170, "families": 80, CALLERS: 110, "steps": 50} | dict.fromkeys(
    (name for name in parts.PARTS if name.startswith("waiting")), 35
)
"""Seconds of each."""


def main() -> int:
    options = _options()
    if options.device != "cpu" and not torch.cuda.is_available():
        print(NO_DEVICE, file=sys.stderr)
        return 2
    command.end_on_sigterm()
    say, until, file = command.progress(), time.monotonic(), options.out / f"{NAME}.json"
    options.out.mkdir(parents=True, exist_ok=True)
    machine = about(options.device)
    found = earlier(file, machine) | machine
    # Models are made while tests run, which need none of them.
    making, models_ready = start(MODELS, options), False
    try:
        for name in (name for name in PARTS if name in options.parts):
            until += PARTS[name]
            if name not in TESTS and not models_ready:
                found[MODELS] = summary(list(rows(making, until)))
                models_ready = True
            found[name] = summary(list(with_progress(rows(start(name, options), until), name, say)))
            say(f"{name}: {json.dumps(found[name]['groups'] or 'ended')}")
            file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    finally:
        end(making)
        if making.stdout:
            making.stdout.close()
    if CALLERS in found and "steps" in found:
        report.draw(file.with_suffix(".svg"), picture(found))
    ran = [MODELS] * models_ready + options.parts
    return 1 if any(failed(row) for name in ran for row in found[name]["rows"]) else 0


def earlier(file: Path, machine: Row) -> Row:
    """What an earlier run on the same kind of machine found."""
    found: Row = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    same = all(found.get(name) == machine.get(name) for name in ("device", "card", "torch", "cuda"))
    return found if same else {}


def start(name: str, options: argparse.Namespace) -> "subprocess.Popen[str]":
    """One of `parts.PARTS`, in a process group of its own."""
    argv = [sys.executable, "-m", "benchmarks.gpu.parts", name, "--device", options.device]
    argv += ["--quick"] * options.quick + ["--vllm", str(options.vllm)] * bool(options.vllm)
    with (options.out / f"{NAME}.log").open("a") as log:
        return subprocess.Popen(  # noqa: S603
            argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )


def end(process: "subprocess.Popen[str]") -> None:
    with suppress(subprocess.TimeoutExpired):
        process.terminate()
        process.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def rows(process: "subprocess.Popen[str]", until: float) -> Iterator[Row]:
    """What a part finds until a moment of `time.monotonic`; the last row says why it failed, where it did."""
    timer = threading.Timer(max(0.0, until - time.monotonic()), end, (process,))
    timer.start()
    try:
        for line in process.stdout or ():
            # A library may print, too.
            with suppress(ValueError):
                yield json.loads(line)
        if code := process.wait():
            yield {"failed": f"exit code {code}" if time.monotonic() < until else "its time is over"}
    finally:
        timer.cancel()
        end(process)
        process.communicate()


def with_progress(found: Iterator[Row], name: str, say: command.Say) -> Iterator[Row]:
    for row in found:
        if "outcome" not in row or failed(row):
            say(f"{name}: {json.dumps(row)}")
        yield row


def failed(row: Row) -> bool:
    return "failed" in row or row.get("outcome") == "failed"


def summary(found: list[Row]) -> Row:
    """Of tests how many ended in which way, by group, and those that failed; else the rows."""
    groups = defaultdict[str, Counter[str]](Counter)
    for row in found:
        if "outcome" in row:
            groups[row["group"]][row["outcome"]] += 1
    rows = [row for row in found if "outcome" not in row or failed(row)]
    return {"date": report.now(), "groups": groups, "rows": rows}


def about(device: str) -> Row:
    card = {} if device == "cpu" else {"card": torch.cuda.get_device_name(device)}
    return report.origin() | {"device": device, "torch": torch.__version__, "cuda": torch.version.cuda} | card


def picture(found: Row) -> Figure:
    """Tokens a second by callers, and a step's time by rows: of what was found so far."""
    drawing, (crowds, steps) = report.figure(2)
    lines = defaultdict[str, list[tuple[int, float]]](list)
    for row in found.get(CALLERS, {}).get("rows", ()):
        if row.get("tokens_per_s"):
            lines[SYSTEMS[row["system"]]].append((row["clients"], row["tokens_per_s"]))
    for system, points in lines.items():
        crowds.loglog(*zip(*points, strict=True), marker="o", label=system)
    times = [row for row in found.get("steps", {}).get("rows", ()) if "engine" in row]
    for way in ("engine", "generate"):
        points = [(row["rows"], row[way]["step_ms"]) for row in times if row.get("captured", True)]
        if points:
            steps.semilogx(*zip(*points, strict=True), marker="o", label=SYSTEMS[way])
    steps.set_ylim(bottom=0)
    for panel, x, y in ((crowds, "callers at once", "tokens per second"), (steps, "rows", "ms of a step")):
        if panel.lines:
            panel.set_xticks([1, 16, 64])
            report.label(panel, x, y)
    return drawing


def _options() -> argparse.Namespace:
    options = parts.arguments(command.parser(NAME, __doc__))
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="run only these")
    options.set_defaults(out=None, vllm=Path(sys.executable) if find_spec("vllm") else None)
    values = options.parse_args()
    tried = values.quick or values.device == "cpu"
    values.out = values.out or (ROOT / "data" / "benchmarks" if tried else report.FOLDER)
    return values


if __name__ == "__main__":
    sys.exit(main())
