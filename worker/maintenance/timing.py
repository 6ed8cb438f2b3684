"""The passes that watch the clock: work that is due joins its line, work that is too late ends."""

import time
from collections.abc import Callable

from shared.settings import Settings
from shared.store.nudges import Nudger
from shared.store.script import Store
from shared.store.upkeep import AT_ONCE, due, expire

LONGEST_S = 0.25
"""Seconds that a round may take if more is due than one call moves."""


def start_due(store: Store, nudger: Nudger) -> int:
    def move() -> int:
        lanes = store.run(due())
        for lane in lanes:
            nudger.send(lane)
        return len(lanes)

    return _until_done(move)


def end_late(settings: Settings, store: Store) -> int:
    return _until_done(lambda: len(store.run(expire(settings))))


def _until_done(move: Callable[[], int]) -> int:
    end, moved = time.monotonic() + LONGEST_S, move()
    total = moved
    while moved == AT_ONCE and time.monotonic() < end:
        moved = move()
        total += moved
    return total
