"""Which fault strikes what and when: drawn from a seed, so that a run can be repeated."""

import random
from dataclasses import dataclass

PERIOD_S = 1.0
FIRST_S = 2.0
DECK = {
    "worker_killed": 8,
    "worker_paused": 5,
    "worker_drained": 4,
    "worker_hung": 4,
    "worker_cut_off": 4,
    "worker_deaf": 1,
    "replies_lost": 4,
    "courier_killed": 5,
    "courier_paused": 2,
    "api_killed": 7,
    "api_paused": 2,
    "redis_killed": 1,
    "redis_paused": 1,
    "redis_full": 1,
}
"""One round: every forty-nine faults have each kind this many times, in random order."""
LASTING = {
    "worker_paused": (1.2, 2.0),
    "courier_paused": (1.0, 6.0),
    "api_paused": (0.5, 3.0),
    "redis_killed": (0.0, 1.5),
    "redis_paused": (1.0, 6.0),
    "redis_full": (1.5, 3.5),
}
"""Shortest and longest duration in seconds; in leases for a paused worker, which must lose its own."""


@dataclass(frozen=True)
class Fault:
    """`victim` is a number to choose the process by, `for_s` how long the fault lasts where it does."""

    at_s: float
    kind: str
    victim: int
    for_s: float = 0.0


def plan(seed: int, count: int, lease_s: float) -> list[Fault]:
    """One fault in every period, anywhere in it."""
    dice = random.Random(seed)  # noqa: S311
    kinds: list[str] = []
    while len(kinds) < count:
        deck = [kind for kind, times in DECK.items() for _ in range(times)]
        dice.shuffle(deck)
        kinds += deck
    return [_fault(dice, number, kind, lease_s) for number, kind in enumerate(kinds[:count])]


def _fault(dice: random.Random, number: int, kind: str, lease_s: float) -> Fault:
    at_s = FIRST_S + (number + dice.random()) * PERIOD_S
    for_s = dice.uniform(*LASTING[kind]) if kind in LASTING else 0.0
    if kind == "worker_paused":
        for_s *= lease_s
    return Fault(round(at_s, 3), kind, dice.randrange(1000), round(for_s, 3))
