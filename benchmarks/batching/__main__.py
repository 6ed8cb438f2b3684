"""`python -m benchmarks.batching`: under half an hour later a table, results/batching.json and batching.svg.

Parts left out by --systems, --models, --dtypes or --clients keep their figures. Exits with 1
where a target was missed or a server could not be measured.
"""

import argparse
import signal
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks import findings
from benchmarks.batching import drawing, plan
from benchmarks.batching.plan import Size
from benchmarks.batching.questions import SUBJECTS
from benchmarks.batching.results import NAME, OtherMachineError, Results
from benchmarks.batching.run import Run
from benchmarks.processes import ROOT

DECODING = "decoding"
"""Stands among the systems: the engine's steps beside those of generate(), without any server."""
QUICK_FOLDER = ROOT / "data" / "benchmarks"


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        results = Results(arguments.out, findings.machine())
    except OtherMachineError as error:
        print(error, file=sys.stderr)
        return 2
    run = Run(
        results,
        _size(arguments),
        lambda text: print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True),
    )
    _measure(arguments, results, run)
    bounds = results.bounds()
    print(findings.table(bounds))
    for path in findings.write(arguments.out, NAME, results.found, drawing.drawn(results.found["parts"])):
        print(f"wrote {path.name}")
    return 0 if not run.left_out and all(bound.met for bound in bounds) else 1


def _measure(arguments: argparse.Namespace, results: Results, run: Run) -> None:
    size = _size(arguments)
    systems = [system for system in plan.SYSTEMS if system in arguments.systems]
    for part in plan.parts(systems, arguments.models, arguments.dtypes):
        if not (arguments.missing and results.has(part, size.clients_of(part))):
            run.part(part, arguments.vllm)
    for model, dtype in product(arguments.models, arguments.dtypes):
        # Where answers end by themselves, too few steps have all rows together.
        wanted = DECODING in arguments.systems and not SUBJECTS[model].ends
        if wanted and not (arguments.missing and results.has_decoding(model, dtype, size.decode_rows)):
            run.decoding(model, dtype)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching", description=__doc__)
    systems = (*plan.SYSTEMS, DECODING)
    parser.add_argument("--systems", nargs="+", choices=systems, help="default: all, vllm where it is named")
    parser.add_argument("--models", nargs="+", choices=plan.MODELS, default=plan.MODELS)
    parser.add_argument("--dtypes", nargs="+", choices=plan.DTYPES, default=plan.DTYPES)
    parser.add_argument("--clients", nargs="+", type=int, help=f"default: {plan.CLIENTS}")
    parser.add_argument("--vllm", type=Path, metavar="PYTHON", help="of an environment that has vLLM")
    parser.add_argument("--missing", action="store_true", help="only parts that have no figures yet")
    parser.add_argument("--quick", action="store_true", help="prove every part; the figures say little")
    parser.add_argument("--out", type=Path, help="folder of the results; with --quick in data/")
    given = parser.parse_args()
    given.systems = given.systems or [name for name in systems if name != "vllm" or given.vllm]
    given.out = given.out or (QUICK_FOLDER if given.quick else findings.FOLDER)
    if "vllm" in given.systems and given.vllm is None:
        parser.error("--systems vllm needs --vllm PYTHON")
    if given.vllm and not (given.vllm.parent / "vllm").exists():
        parser.error(f"--vllm: there is no vllm beside {given.vllm}")
    return given


def _size(arguments: argparse.Namespace) -> Size:
    size = plan.QUICK if arguments.quick else plan.FULL
    return replace(size, clients=tuple(arguments.clients)) if arguments.clients else size


if __name__ == "__main__":
    sys.exit(main())
