"""`python -m benchmarks.chaos`: ten minutes later a table, results/chaos.json and chaos.svg.

Exits with 1 where a target was missed.
"""

import json
import sys
from datetime import UTC, datetime

from benchmarks import findings, service
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
    machine = findings.machine()
    outcome = service.run(run(arguments.jobs, arguments.rate, arguments.seed, findings.telling()))
    figures = report.figures(outcome)
    print(json.dumps({name: figures[name] for name in ("faults", "outcomes", "late_writes_refused")}))
    measured = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": findings.versions(outcome.valkey),
        **figures,
        **report.conditions(outcome, arguments.rate),
    }
    return findings.conclude(arguments.out, "chaos", measured, report.bounds(figures), report.drawn(outcome))


if __name__ == "__main__":
    sys.exit(main())
