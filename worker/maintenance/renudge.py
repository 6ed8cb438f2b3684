"""The pass that sends nudges again where work waits and too few are listed.

A spare nudge costs a worker one look at an empty line; a missing one would leave work waiting for ever.
"""

from shared.store.nudges import Nudger
from shared.store.script import Store
from shared.store.workers import backlog

FEW = 64
"""Nudges that a line has listed at most: as many as workers may take before the next pass."""


def send_missing(store: Store, nudger: Nudger) -> int:
    sent = 0
    for lane, waiting in backlog(store).items():
        listed = nudger.listed(lane) if waiting else 0
        if listed < min(waiting, FEW):
            count = min(waiting, FEW) - listed
            nudger.send(lane, count)
            sent += count
    return sent
