"""`python -m benchmarks.eta`: about two minutes later a table, results/eta.json and eta.svg.

Exits with 1 where a target was missed.
"""

import signal
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks import findings, server
from benchmarks.eta import drawing, live, loads
from benchmarks.simulation import Piece
from shared.store.script import connect

JOBS = 3000
LIVE_JOBS = 400
LIVE = "real processes"
SEED = 1
FREE_S = 0.03
"""A job told less than this finds a free row."""


def main() -> int:
    arguments = findings.arguments(
        "eta",
        __doc__,
        jobs=(JOBS, "jobs of each load"),
        live=(LIVE_JOBS, "jobs of the load on real processes; 0 leaves it out"),
        seed=(SEED, "of what is drawn"),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with server.opened() as redis:
        store = connect(redis)
        measured = findings.origin(store.client) | {"jobs": arguments.jobs, "seed": arguments.seed}
        played = {
            load.name: loads.play(store, load, jobs=arguments.jobs, seed=arguments.seed)
            for load in loads.LOADS
        }
    told = {load.name: load.told for load in loads.LOADS}
    if arguments.live:
        played[LIVE] = live.play(jobs=arguments.live, seed=arguments.seed)
        told[LIVE] = f"Poisson, {live.USE:.0%} of the rows of one worker"
    measured["loads"] = {name: {"is": told[name]} | _figures(pieces) for name, pieces in played.items()}
    bounds = _bounds(measured["loads"]["steady"])
    measured["limits"] = findings.listed(bounds)
    for name, row in measured["loads"].items():
        print(f"{name:16}{row['within_p50']:8.1%} before p50{row['within_p90']:8.1%} before p90")
    print(findings.table(bounds))
    for path in findings.write(arguments.out, "eta", measured, drawing.drawn(played)):
        print(f"wrote {path.name}")
    return 0 if all(b.met for b in bounds) else 1


def _figures(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Figures of all jobs, and of only those that had to wait for a row."""
    busy = [p for p in pieces if p.told.p50 > FREE_S]
    late = [p.waited_s - p.told.p90 for p in pieces if p.waited_s > p.told.p90]
    return _shares(pieces) | {
        "wait_p50_s": round(median(p.waited_s for p in pieces), 3),
        "wait_longest_s": round(max(p.waited_s for p in pieces), 1),
        "behind_p90_p50_s": round(median(late), 3) if late else None,
        "in_line": {"jobs": len(busy)} | (_shares(busy) if busy else {}),
    }


def _shares(pieces: Sequence[Piece]) -> dict[str, float]:
    return {
        "within_p50": round(sum(p.waited_s <= p.told.p50 for p in pieces) / len(pieces), 4),
        "within_p90": round(sum(p.waited_s <= p.told.p90 for p in pieces) / len(pieces), 4),
    }


def _bounds(steady: dict[str, Any]) -> list[findings.Bound]:
    return [
        findings.Bound("steady: distance of p50's share from half", abs(steady["within_p50"] - 0.5), 0.1, ""),
        findings.Bound("steady: begun before p90", steady["within_p90"], 0.85, "", at_least=True),
    ]


if __name__ == "__main__":
    sys.exit(main())
