"""The pass that sends nudges again where work waits and none is listed.

A spare nudge costs a worker one look at an empty line; a missing one would leave work waiting for ever.
"""

from shared.store.nudges import Nudger
from shared.store.script import Store
from shared.store.workers import backlog

MOST = 64
"""Nudges sent for one lane in one pass: enough to fill a worker, few enough to be harmless."""


def send_missing(store: Store, nudger: Nudger) -> int:
    sent = 0
    for lane, waiting in backlog(store).items():
        if waiting and nudger.listed(lane) == 0:
            count = min(waiting, MOST)
            nudger.send(lane, count)
            sent += count
    return sent
