"""The pass that returns the work of lost workers to its line."""

from shared.settings import Settings
from shared.store.claims import rescue
from shared.store.nudges import Nudger
from shared.store.script import Store


def rescue_lost(settings: Settings, store: Store, nudger: Nudger) -> int:
    """Rescue what has an expired lease, and nudge for it.

    After an outage of the record store every lease looks expired, though its worker lives: the script gives
    workers time to renew first.
    """
    rescued = store.run(rescue(settings))
    for _, lane in rescued:
        if lane:
            nudger.send(lane)
    return len(rescued)
