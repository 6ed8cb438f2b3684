"""The courier: `python -m worker -A worker.courier worker --pool=threads -c 16 -Q intake`.

Fetches remote pictures and calls webhooks, so that model workers need no way out to the internet, and keeps
the maintenance thread.
"""

import threading
from typing import Any

from celery import signals

from shared import ids
from shared.blobs import Blobs
from shared.metrics.reporter import start_reporting
from shared.settings import settings
from shared.store.keys import INTAKE
from shared.store.nudges import TASK, Nudger
from shared.store.pipelined_store import connect_pipelined
from shared.telemetry.logs import open_log
from shared.telemetry.traces import close_traces, open_traces
from worker.celery_app import make_app, start_or_exit
from worker.claim_loop import IdlePoll
from worker.fetching.intake import Intake
from worker.heartbeat import Heartbeat
from worker.lease import Leases
from worker.maintenance.leader import MaintenanceLeader
from worker.watchdogs import BrokerWatch
from worker.webhooks.deliverer import Deliverer

# Before Celery logs its first line.
open_log(settings())
app = make_app("sightline-courier", settings().redis)


class Courier:
    """The parts of the process, and how they start and stop."""

    def __init__(self, slots: int) -> None:
        config = settings()
        store, nudger, leases = connect_pipelined(config.redis), Nudger(config.redis), Leases()
        worker = ids.worker_id()
        self.leases, self.drain_s = leases, config.queue.drain_s
        self.heartbeat = Heartbeat(config, store, leases, worker=worker, lane=INTAKE)
        blobs = Blobs(config.blobs)
        self.intake = Intake(config, store, nudger, blobs, leases, worker)
        self.idle_poll = IdlePoll(self.intake.take, self.intake.attempt, slots)
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

    def drain(self) -> None:
        """Claim no more, and after the grace time give back the jobs whose inputs have not come."""
        self.intake.draining.set()
        self.heartbeat.drain()
        timer = threading.Timer(self.drain_s, self.leases.drain)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        self.idle_poll.stop()
        self.intake.renderer.close()
        self.deliverer.stop()
        self.maintenance.stop()
        self.heartbeat.stop({})
        self.tally.stop()


_courier: list[Courier] = []


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def work(_lane: str) -> None:
    """One nudge, one job's inputs."""
    _courier[0].broker_watch.nudged()
    _courier[0].intake.work()


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _open(sender: Any, **_: Any) -> None:
    def start() -> None:
        open_traces(settings(), "sightline-courier")
        _courier.append(Courier(sender.concurrency))
        _courier[0].open()

    start_or_exit(start)


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    if _courier:
        _courier[0].drain()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _close(**_: Any) -> None:
    if _courier:
        _courier[0].close()
    close_traces()
