"""`python -m benchmarks.batches`: minutes later a table, results/batches.json and batches.svg.

Exits with 1 where a target was missed.
"""

import sys
from datetime import UTC, datetime

from benchmarks import findings, service
from benchmarks.batches import report
from benchmarks.batches.run import run
from shared.batch import MOST_LINES

IDLE_S = 20


def main() -> int:
    arguments = findings.arguments(
        "batches",
        __doc__ or "",
        lines=(MOST_LINES, "lines of the file"),
        idle=(IDLE_S, "seconds of asking on the idle service"),
    )
    machine = findings.machine()
    outcome = service.run(run(arguments.lines, arguments.idle, findings.telling()))
    figures = report.figures(outcome)
    print(
        {name: figures[name] for name in ("lines_per_s", "upload_s", "asked_ms", "memory_mb", "unanswered")}
    )
    measured = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": findings.versions(outcome.valkey),
        **figures,
    }
    return findings.conclude(
        arguments.out, "batches", measured, report.bounds(figures), report.drawn(outcome)
    )


if __name__ == "__main__":
    sys.exit(main())
