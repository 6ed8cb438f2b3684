"""`python -m benchmarks.webhooks`: five minutes later a table, results/webhooks.json and webhooks.svg.

Exits with 1 where a target was missed.
"""

import asyncio
import signal
import sys
import time
from datetime import UTC, datetime

from benchmarks import findings
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
    print({name: figures[name] for name in ("calls", "taken", "refused", "given_up", "repeats", "kills")})
    print(findings.table(bounds))
    measured = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": findings.versions(outcome.valkey),
        **figures,
        **report.conditions(arguments.rate, arguments.seed),
        "limits": findings.listed(bounds),
    }
    for path in findings.write(arguments.out, "webhooks", measured, report.drawn(outcome)):
        print(f"wrote {path.name}")
    return 0 if all(bound.met for bound in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
