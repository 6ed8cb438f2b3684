"""`python -m benchmarks.fleet`: six minutes at most later a table, results/fleet.json and fleet.svg.

Exits with 1 where a target was missed. `--quick 1` shows in a minute that all of it works.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks import findings, server
from benchmarks.fleet import crowd, milling
from benchmarks.fleet.crowd import Crowd
from benchmarks.fleet.drawing import drawn
from benchmarks.fleet.load import CALLERS, KEPT_S, MEAN_S, ROWS, WAYS
from shared.store.script import connect

SIZES = (1, 10, 50, 100)
QUICK_SIZES = (1, 10)
WINDOW_S, QUICK_WINDOW_S = 15.0, 4.0
SEED = 1
EFFICIENT = 0.95
ROOMY = 0.7
"""Below this share of its core the record server must not be what rows wait for."""
FULL = 0.95
"""Above this share rows wait for this machine, which plays workers that normally have their own."""


def main() -> int:
    arguments = findings.arguments(
        "fleet",
        __doc__ or "",
        quick=(0, "1 = small sizes and short windows"),
        seed=(SEED, "of the questions"),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sizes, window_s = (QUICK_SIZES, QUICK_WINDOW_S) if arguments.quick else (SIZES, WINDOW_S)
    with server.opened() as redis:
        measured = findings.origin(connect(redis).client)
    crowds = []
    for workers in sizes:
        for way in WAYS:
            crowds.append(crowd.measure(way, workers, window_s, arguments.seed))
            _tell(crowds[-1])
    milled = [milling.measure(way, window_s) for way in WAYS]
    for row in milled:
        print(
            f"{row.way:10}{row.jobs_per_s:10,.0f} jobs/s with {row.redis:.0%} of the server's core",
            flush=True,
        )
    measured |= {
        "rows": ROWS,
        "mean_s": MEAN_S,
        "callers": CALLERS,
        "kept_s": KEPT_S,
        "window_s": window_s,
        "fleets": [asdict(row) for row in crowds],
        "mills": [asdict(row) for row in milled],
    }
    return findings.conclude(arguments.out, "fleet", measured, _bounds(crowds), drawn(crowds, milled))


def _tell(row: Crowd) -> None:
    shares = f"record server {row.redis:.0%}, workers {row.played:.0%}, machine {row.machine:.0%}"
    print(
        f"{row.workers:4} {row.way:10}{row.efficiency:8.1%} work{row.jobs_per_s:8.1f} jobs/s   {shares}",
        flush=True,
    )


def _bounds(crowds: Sequence[Crowd]) -> list[findings.Bound]:
    return [
        findings.Bound(
            f"{row.workers} workers, {row.way}: work", row.efficiency, EFFICIENT, "", at_least=True
        )
        for row in crowds
        if row.redis < ROOMY and row.machine < FULL
    ]


if __name__ == "__main__":
    sys.exit(main())
