"""`python -m benchmarks.webhooks`: five minutes later a table, results/webhooks.json and webhooks.svg.

Exits with 1 where a target was missed.
"""

import sys
from datetime import UTC, datetime

from benchmarks import findings, service
from benchmarks.webhooks import report
from benchmarks.webhooks.run import run

JOBS = 2000
RATE = 20
SEED = 1


def main() -> int:
    arguments = findings.arguments(
        "webhooks",
        __doc__ or "",
        jobs=(JOBS, "jobs asked"),
        rate=(RATE, "of them in a second at most"),
        seed=(SEED, "of where their webhooks lead"),
    )
    machine = findings.machine()
    outcome = service.run(run(arguments.jobs, arguments.rate, arguments.seed, findings.telling()))
    figures = report.figures(outcome)
    print({name: figures[name] for name in ("calls", "taken", "refused", "given_up", "repeats", "kills")})
    measured = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": findings.versions(outcome.valkey),
        **figures,
        **report.conditions(arguments.rate, arguments.seed),
    }
    return findings.conclude(
        arguments.out, "webhooks", measured, report.bounds(figures), report.drawn(outcome)
    )


if __name__ == "__main__":
    sys.exit(main())
