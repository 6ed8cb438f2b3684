"""`python -m benchmarks.fairness`: about a minute later a table, results/fairness.json and fairness.svg.

Exits with 1 where a target was missed.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import findings, server
from benchmarks.fairness import drawing, floods
from benchmarks.simulation import Piece
from shared.store.script import Store, connect

SEED = 1
JAIN_TARGET = 0.95
SHARE_LIMIT = 0.01
ORDERS = {"fair": True, "fifo": False}


def main() -> int:
    arguments = findings.arguments("fairness", __doc__, seed=(SEED, "of what is drawn"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with server.opened() as redis:
        store = connect(redis)
        measured = findings.origin(store.client) | {"seed": arguments.seed, "engines": floods.ENGINES}
        played = {
            costs: _both(store, arguments.seed, unequal=costs == "unequal") for costs in ("equal", "unequal")
        }
        classes = floods.play(store, floods.classes(arguments.seed), fair=True)
    measured |= {costs: {order: _figures(p) for order, p in both.items()} for costs, both in played.items()}
    measured["classes"] = _shares(floods.served_while_all_wait(classes, "priority"))
    bounds = _bounds(measured)
    measured["limits"] = findings.listed(bounds)
    _tell(measured, bounds)
    for path in findings.write(arguments.out, "fairness", measured, drawing.drawn(played)):
        print(f"wrote {path.name}")
    return 0 if all(b.met for b in bounds) else 1


def _both(store: Store, seed: int, *, unequal: bool) -> dict[str, list[Piece]]:
    pieces = floods.flood(seed, unequal=unequal)
    return {order: floods.play(store, pieces, fair=fair) for order, fair in ORDERS.items()}


def _figures(pieces: Sequence[Piece]) -> dict[str, Any]:
    served = floods.served_while_all_wait(pieces, "caller")
    return {
        "jain": round(floods.jain(served), 4),
        "served_cost_lowest": min(served.values()),
        "served_cost_highest": max(served.values()),
        "others_wait_s": _waits([p.waited_s for p in pieces if p.caller != floods.FLOOD]),
        "flood_wait_s": _waits([p.waited_s for p in pieces if p.caller == floods.FLOOD]),
    }


def _waits(waits: Sequence[float]) -> dict[str, float]:
    ordered = sorted(waits)
    return {
        name: round(ordered[len(ordered) * share // 100], 1) for name, share in (("p50", 50), ("p99", 99))
    }


def _shares(served: dict[str, int]) -> dict[str, Any]:
    weights = sum(floods.CLASSES.values())
    return {
        name: {
            "share": round(served[name] / sum(served.values()), 4),
            "due": round(weight / weights, 4),
        }
        for name, weight in floods.CLASSES.items()
    }


def _bounds(measured: dict[str, Any]) -> list[findings.Bound]:
    off = max(abs(row["share"] - row["due"]) for row in measured["classes"].values())
    return [
        *(
            findings.Bound(
                f"Jain index, {costs} costs", measured[costs]["fair"]["jain"], JAIN_TARGET, "", at_least=True
            )
            for costs in ("equal", "unequal")
        ),
        findings.Bound("classes: furthest from 16 : 4 : 1", off, SHARE_LIMIT, ""),
    ]


def _tell(measured: dict[str, Any], bounds: Sequence[findings.Bound]) -> None:
    print(f"{'costs':10}{'order':8}{'Jain':>8}{'the twenty wait p50':>22}{'p99':>10}")
    for costs in ("equal", "unequal"):
        for order, row in measured[costs].items():
            waits = row["others_wait_s"]
            print(f"{costs:10}{order:8}{row['jain']:8.3f}{waits['p50']:20.1f} s{waits['p99']:8.1f} s")
    shares = ", ".join(f"{name} {row['share']:.1%}" for name, row in measured["classes"].items())
    print(f"classes: {shares}")
    print(findings.table(bounds))


if __name__ == "__main__":
    sys.exit(main())
