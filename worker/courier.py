"""The courier: `python -m worker -A worker.courier worker --pool=threads -c 16 -Q intake`.

Fetches remote pictures and calls webhooks, so that model workers need no way out to the internet, and keeps
the maintenance thread.
"""

from shared import ids
from shared.blobs import Blobs
from shared.metrics.metric_types import serve
from shared.settings import Settings
from shared.store.keys import INTAKE
from shared.store.nudges import Nudger
from shared.store.pipelined_store import connect_pipelined
from worker.celery_app import process_app
from worker.fetching.intake import Intake
from worker.heartbeat import Heartbeat
from worker.lease import Leases
from worker.maintenance.leader import MaintenanceLeader
from worker.watchdogs import BrokerWatch
from worker.webhooks.deliverer import Deliverer


class Courier:
    """The parts of the process, and how they start and stop."""

    def __init__(self, slots: int, config: Settings) -> None:
        store, nudger, leases = connect_pipelined(config.redis), Nudger(config.redis), Leases()
        worker, blobs = ids.worker_id(), Blobs(config.blobs)
        self.leases, self.drain_s = leases, config.queue.drain_s
        self.heartbeat = Heartbeat(config, store, leases, worker=worker, lane=INTAKE)
        self.intake = Intake(config, store, nudger, blobs, leases, worker)
        self.deliverer = Deliverer(config, store, blobs, cut=leases.drained)
        # For calls of webhooks there are no nudges.
        self.polls = (self.intake.poll(slots), self.deliverer.poll(config.queue.rescue_s))
        self.broker_watch = BrokerWatch(nudger, leases, lane=INTAKE, slots=slots)
        self.maintenance = MaintenanceLeader(config, store, nudger, blobs, worker)
        serve(config.metrics)

    def open(self) -> None:
        self.heartbeat.start({})
        self.heartbeat.watch(self.broker_watch)
        self.maintenance.start()
        for each in self.polls:
            each.start()

    def work(self, _lane: str) -> None:
        """Answer one nudge, and go on while any job waits."""
        self.broker_watch.nudged()
        self.intake.work_on()

    def drain(self) -> None:
        """Claim no more, and after the grace time give back what is not done."""
        self.intake.draining.set()
        self.deliverer.draining.set()
        self.heartbeat.drain()
        self.leases.drain_after(self.drain_s)

    def close(self) -> None:
        # Celery may end without a signal, and so without `drain`.
        self.drain()
        for each in self.polls:
            each.stop()
        self.intake.renderer.close()
        self.maintenance.stop()
        self.heartbeat.stop({})


def _open(threads: int, settings: Settings) -> Courier:
    courier = Courier(threads, settings)
    courier.open()
    return courier


app = process_app("sightline-courier", _open)
