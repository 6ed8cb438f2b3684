"""The passes that watch the clock: what is due goes into line, what is too late ends."""

from shared.settings import Settings
from shared.store.nudges import Nudger
from shared.store.script import Store
from shared.store.upkeep import due, expire


def start_due(store: Store, nudger: Nudger) -> int:
    lanes = store.run(due())
    for lane in lanes:
        nudger.send(lane)
    return len(lanes)


def end_late(settings: Settings, store: Store) -> int:
    return len(store.run(expire(settings)))
