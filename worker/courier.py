"""The courier: `python -m worker -A worker.courier worker --pool=threads -c 16 -Q intake`.

Fetches remote pictures and calls webhooks, so that model workers need no way out to the internet, and keeps
the maintenance thread.
"""

from shared import ids
from shared.blobs import Blobs
from shared.metrics.reporter import start_reporting
from shared.settings import Settings
from shared.store.claims import Claim
from shared.store.keys import INTAKE
from shared.store.nudges import Nudger
from shared.store.pipelined_store import connect_pipelined
from worker.celery_app import process_app
from worker.claim_loop import AttemptThreads, IdlePoll
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
        worker = ids.worker_id()
        self.leases, self.drain_s = leases, config.queue.drain_s
        self.heartbeat = Heartbeat(config, store, leases, worker=worker, lane=INTAKE)
        blobs = Blobs(config.blobs)
        self.intake = Intake(config, store, nudger, blobs, leases, worker)
        self.idle_poll = IdlePoll(self.intake.take, AttemptThreads(self._attempt), slots)
        self.broker_watch = BrokerWatch(nudger, leases, lane=INTAKE, slots=slots)
        self.maintenance = MaintenanceLeader(config, store, nudger, blobs, worker)
        self.deliverer = Deliverer(config, store, blobs)
        self.tally = start_reporting(config.metrics, store)

    def open(self) -> None:
        self.heartbeat.start({})
        self.heartbeat.watch(self.broker_watch, self.tally)
        self.maintenance.start()
        self.deliverer.start()
        self.idle_poll.start()

    def work(self, _lane: str) -> None:
        """Answer one nudge, and go on while any job waits: a caller at its limit has used up its nudges."""
        self.broker_watch.nudged()
        self._go_on()

    def _attempt(self, claimed: Claim) -> None:
        self.intake.attempt(claimed)
        self._go_on()

    def _go_on(self) -> None:
        while self.intake.work():
            pass

    def drain(self) -> None:
        """Claim no more, and after the grace time give back the jobs whose inputs have not come."""
        self.intake.draining.set()
        self.deliverer.drain()
        self.heartbeat.drain()
        self.leases.drain_after(self.drain_s)

    def close(self) -> None:
        # Celery may end without a signal, and so without `drain`.
        self.intake.draining.set()
        self.idle_poll.stop()
        self.intake.renderer.close()
        self.deliverer.stop()
        self.maintenance.stop()
        self.heartbeat.stop({})
        self.tally.stop()


def _open(threads: int, settings: Settings) -> Courier:
    courier = Courier(threads, settings)
    courier.open()
    return courier


app = process_app("sightline-courier", _open)
