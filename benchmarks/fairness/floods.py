"""One caller floods, twenty others come a little later; the same again in the order of arrival."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from benchmarks.simulation import Piece, Simulation
from shared.job import Priority
from shared.store.script import Store

ENGINES = 8
FLOOD = "flood"
FLOODED = 5000
OTHERS = tuple(f"other-{n:02d}" for n in range(20))
EACH = 20
OTHERS_AT_S = 5.0
EQUAL, UNEQUAL = (64,), (16, 64, 256)
S_PER_COST = 1 / 64
"""A run of cost 64 takes a second."""
SPREAD = 0.3
"""Spread of the lognormal service time around that."""
EVERYBODY = "everybody"
CLASSES: dict[Priority, int] = {"interactive": 16, "normal": 4, "batch": 1}
OF_A_CLASS = 2100


def flood(seed: int, *, unequal: bool) -> list[Piece]:
    """5,000 of one caller at the start, 20 of each of twenty others 5 s later."""
    dice = random.Random(f"flood {unequal} {seed}")  # noqa: S311
    askers = [(FLOOD, 0.0)] * FLOODED + [(caller, OTHERS_AT_S) for _ in range(EACH) for caller in OTHERS]
    costs = UNEQUAL if unequal else EQUAL
    return [_piece(dice, caller, at, cost=dice.choice(costs)) for caller, at in askers]


def classes(seed: int) -> list[Piece]:
    """As many pieces of each class at once: half from a caller of that class only, half from one of all."""
    dice = random.Random(f"classes {seed}")  # noqa: S311
    return [
        replace(_piece(dice, caller, 0.0, cost=dice.choice(EQUAL)), priority=priority)
        for priority in CLASSES
        for caller in (priority, EVERYBODY) * (OF_A_CLASS // 2)
    ]


def _piece(dice: random.Random, caller: str, at: float, *, cost: int) -> Piece:
    service = cost * S_PER_COST * dice.lognormvariate(-(SPREAD**2) / 2, SPREAD)
    return Piece(caller=caller, priority="normal", cost=cost, service_s=service, submitted_s=at)


def play(store: Store, pieces: Sequence[Piece], *, fair: bool) -> list[Piece]:
    """Without `fair` the queue knows one caller only: the same code then serves in the order of arrival."""
    store.client.flushdb()
    queue = Simulation(store, random.Random(0), engines=ENGINES)  # noqa: S311
    for piece in pieces:
        as_caller = piece.caller if fair else EVERYBODY
        queue.at(piece.submitted_s, partial(queue.submit, replace(piece), as_caller=as_caller))
    queue.run_until(lambda: len(queue.pieces) == len(pieces) and queue.waiting == 0)
    return list(queue.pieces.values())


def served_while_all_wait(pieces: Sequence[Piece], key: str) -> dict[str, int]:
    """The cost begun for each caller (or class) while all of them have work waiting."""
    ends: dict[str, float] = {}
    begins = 0.0
    for piece in pieces:
        name = getattr(piece, key)
        ends[name] = max(ends.get(name, 0.0), piece.begun_s)
        begins = max(begins, piece.submitted_s)
    over = min(ends.values())
    served = Counter(dict.fromkeys(ends, 0))
    for piece in pieces:
        if begins < piece.begun_s < over:
            served[getattr(piece, key)] += piece.cost
    return dict(served)


def jain(served: dict[str, int]) -> float:
    """1 where all were served the same cost, 1/n where one had everything (Jain, Chiu and Hawe 1984)."""
    costs = list(served.values())
    return sum(costs) ** 2 / (len(costs) * sum(cost * cost for cost in costs))
