"""`python -m benchmarks.chaos`: ten minutes later a table, results/chaos.json and chaos.svg.

Exits with 1 where a target was missed.
"""

import asyncio
import json
import signal
import sys
import time
from datetime import UTC, datetime

from benchmarks import findings
from benchmarks.chaos import report
from benchmarks.chaos.run import run

JOBS = 10_000
RATE = 20
SEED = 1


def main() -> int:
    arguments = findings.arguments(
        "chaos",
        __doc__ or "",
        jobs=(JOBS, "questions asked"),
        rate=(RATE, "of them in a second at most"),
        seed=(SEED, "of the questions and the faults"),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    machine = findings.machine()
    outcome = asyncio.run(
        run(
            arguments.jobs,
            arguments.rate,
            arguments.seed,
            lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True),
        )
    )
    figures = report.figures(outcome)
    bounds = report.bounds(figures)
    print(json.dumps({name: figures[name] for name in ("faults", "outcomes", "late_writes_refused")}))
    print(findings.table(bounds))
    measured = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": findings.versions(outcome.valkey),
        **figures,
        **report.conditions(outcome, arguments.rate),
        "limits": findings.listed(bounds),
    }
    for path in findings.write(arguments.out, "chaos", measured, report.drawn(outcome)):
        print(f"wrote {path.name}")
    return 0 if all(bound.met for bound in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
