"""Many callers at once, at our service and at other servers: under an hour.

Each part is a server, a model, a number format, one thread or the whole machine. What is left out by
--systems, --models or --clients keeps its figures.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.batching import plan
from benchmarks.batching.measurement import Run
from benchmarks.batching.plan import CLOCK, DTYPES, MODELS, NAME, SYSTEMS, VLLM, OtherMachineError, Results
from benchmarks.batching.questions import SUBJECTS
from benchmarks.frame import command, report
from benchmarks.frame.services import ROOT

DECODING = "decoding"
"""Listed among the systems: the engine's steps compared with those of generate(), without any server."""
OVERHEAD = "overhead"
"""Listed among the systems: vLLM's own server and our service with its engine, by turns. `clock` is the same
with a clock as device."""
QUICK_FOLDER = ROOT / "data" / "benchmarks"
SHOWN = ("continuous", "serve", "vllm", "vllm_engine", "wide")
"""In the picture; `sequential` lies where `serve` does."""
COLORS = dict(zip(SHOWN, report.SERIES, strict=True))


def main() -> int:
    arguments = _arguments()
    command.end_on_sigterm()
    try:
        results = Results(arguments.out, report.machine())
    except OtherMachineError as error:
        print(error, file=sys.stderr)
        return 2
    run = Run(results, arguments.size, command.progress())
    systems = [system for system in SYSTEMS if system in arguments.systems]
    for part in plan.parts(systems, arguments.models, DTYPES):
        run.part(part, arguments.vllm)
    for model, dtype in product(arguments.models, DTYPES):
        # Where answers end by themselves, the pages compare requests and not steps.
        if DECODING in arguments.systems and not SUBJECTS[model].ends:
            run.decoding(model, dtype)
        if OVERHEAD in arguments.systems and not SUBJECTS[model].ends:
            run.overhead(model, dtype, arguments.vllm)
    for model in arguments.models:
        if CLOCK in arguments.systems and not SUBJECTS[model].ends:
            run.overhead(model, DTYPES[-1], arguments.vllm, CLOCK)
    findings = report.Findings({}, picture(results.rows), results.bounds())
    print(report.table(findings))
    report.write(arguments.out, NAME, results.rows, findings.picture)
    return 0 if not run.failed and findings.met else 1


def _arguments() -> command.Options:
    parser = command.parser(NAME, __doc__)
    systems, with_vllm = (*SYSTEMS, DECODING, OVERHEAD, CLOCK), {*VLLM, OVERHEAD, CLOCK}
    parser.add_argument(
        "--systems", nargs="+", choices=systems, help="default: all, vLLM's where it is named"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--clients", nargs="+", type=int, help=f"default: {plan.CLIENTS}")
    parser.add_argument("--vllm", type=Path, metavar="PYTHON", help="of an environment that has vLLM")
    parser.add_argument("--quick", action="store_true", help="every part for seconds, into data/benchmarks")
    parser.set_defaults(out=None)
    arguments = parser.parse_args()
    arguments.systems = arguments.systems or [
        name for name in systems if name not in with_vllm or arguments.vllm
    ]
    arguments.out = arguments.out or (QUICK_FOLDER if arguments.quick else report.FOLDER)
    if with_vllm & {*arguments.systems} and arguments.vllm is None:
        parser.error("--systems vllm, vllm_engine, overhead and clock need --vllm PYTHON")
    if arguments.vllm and not (arguments.vllm.parent / "vllm").exists():
        parser.error(f"--vllm: there is no vllm next to {arguments.vllm}")
    size = plan.QUICK if arguments.quick else plan.FULL
    arguments.size = replace(size, clients=tuple(arguments.clients)) if arguments.clients else size
    return arguments


def picture(found: Mapping[str, Sequence[dict[str, Any]]]) -> Figure:
    """Tokens a second of the whole machine over the callers, a panel for each model and number format.

    The last one: vLLM behind our service over its own server.
    """
    parts = found["parts"]
    most, known = max(plan.CORES), {(row["model"], row["dtype"]) for row in parts}
    cases = [case for case in product(MODELS, DTYPES) if case in known]
    figure, panels = report.figure(1, (10, 4 * len(cases) + 4), rows=len(cases) + 1)
    *others, last = np.ravel(panels)
    _draw_turns(last, found["overheads"])
    for panel, (model, dtype) in zip(others, cases, strict=True):
        for row in parts:
            if (row["model"], row["dtype"], row["cores"]) == (model, dtype, most) and row["system"] in SHOWN:
                _draw_line(panel, row)
        panel.set_title(f"{model}, {dtype}")
        panel.set_xscale("log", base=2)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("callers at once")
        panel.set_ylabel(f"tokens/s, {most} cores")
    lines = {line.get_label(): line for panel in others for line in panel.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=3)
    return figure


def _draw_turns(panel: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Each pair of turns a point."""
    names = []
    for place, row in enumerate(rows):
        names.append(f"{plan.device_of(row)}\n{row['asked']}\n{row['clients']}")
        own, ours = (row[system]["tokens_per_s"] for system in VLLM)
        pairs = [mine / theirs for mine, theirs in zip(ours, own, strict=True)]
        panel.plot([place] * len(pairs), pairs, "o", color=COLORS[plan.VLLM_ENGINE])
    panel.axhline(1, color=report.GRAY, linewidth=1)
    panel.set_xticks(range(len(names)), names)
    panel.set_title("engine vllm behind our service, over vLLM's own server: device, asked, callers")
    panel.set_ylabel("tokens/s, ratio")


def _draw_line(panel: Any, row: dict[str, Any]) -> None:
    points = sorted(row["points"].values(), key=lambda point: point["clients"])
    rates = [[point[name] for point in points] for name in ("clients", "tokens_per_s")]
    style = {"color": COLORS[row["system"]], "label": SYSTEMS[row["system"]].replace("`", "")}
    panel.plot(*rates, marker="o", **style)


if __name__ == "__main__":
    sys.exit(main())
