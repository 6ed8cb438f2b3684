"""The pass that returns the work of lost workers to its line."""

from shared.settings import Settings
from shared.store.claims import rescue
from shared.store.nudges import Nudger
from shared.store.script import Store
from shared.store.workers import uptime_s


def rescue_lost(settings: Settings, store: Store, nudger: Nudger) -> int:
    """Rescue what has an expired lease, and nudge for it.

    After a restart of the record store every lease looks expired at once, though its workers live: wait until
    they had time to renew.
    """
    if uptime_s(store) < 2 * settings.queue.lease_s + 1:
        return 0
    rescued = store.run(rescue(settings))
    for _, lane in rescued:
        if lane:
            nudger.send(lane)
    return len(rescued)
