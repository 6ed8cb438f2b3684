"""The Celery application of workers and couriers: every setting that the queue relies on, and why.

Celery starts, stops and supervises threads and hands out nudges. It carries no work and gives no guarantee:
the records do (docs/decisions/record-beside-celery.md)."""

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any, Protocol

from celery import Celery, bootsteps, signals
from celery.apps.worker import install_worker_term_handler
from celery.exceptions import SecurityWarning
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from shared.settings import RedisSettings, Settings, settings
from shared.store.clients import for_kombu
from shared.store.nudges import TASK
from shared.telemetry.logs import open_log
from shared.telemetry.traces import close_traces, open_traces


class Exit(IntEnum):
    """Why a worker needs a new process, which a supervisor starts.

    Never renumbered; docs/fleet.md says what to do about each.
    """

    STALLED = 70
    MODEL_FAILED = 71
    DEVICE_BROKEN = 72
    STARVED = 73
    NOT_OPENED = 74
    OUTDATED = 75


log = logging.getLogger("worker")
MAX_PAUSE_S = 2.0


class FastReconnectConsumer(Consumer):  # type: ignore[misc]
    """Outlives outages of the broker, and tries at least every 2 s; Celery's own pauses grow to 30 s.

    A broker that is up but refuses is an outage, too: a full disk or memory, a replica, too few replicas.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # kombu takes a refusal for an error of the channel, over which Celery would end the process.
        self.connection_errors += self.channel_errors

    def connect(self) -> Any:
        connection = super().connect()
        # Celery acknowledges what it takes, though nothing keeps it (`make_app`).
        connection.default_channel.basic_ack = lambda *_, **__: None
        return connection

    def ensure_connected(self, conn: Any) -> Any:
        return conn.ensure_connection(
            _log_outage,
            interval_start=0.2,
            interval_step=0.4,
            interval_max=MAX_PAUSE_S,
            callback=maybe_shutdown,
        )

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        super().on_connection_error_before_connected(exc)
        self._pause_if_refused(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        self._pause_if_refused(exc)

    def _pause_if_refused(self, error: Exception) -> None:
        """A broker that refuses can be reconnected at once, only to refuse again."""
        if isinstance(error, self.channel_errors):
            _log_outage(error, MAX_PAUSE_S)
            time.sleep(MAX_PAUSE_S)


class StopSignals(bootsteps.StartStopStep):  # type: ignore[misc]
    """Makes SIGINT (Ctrl-C) and SIGHUP (log rotation, a closing terminal) end the process as SIGTERM does.

    At SIGINT Celery would end as if it had failed. At SIGHUP it would restart itself without the `-m` of its
    command line, and fail. Under nohup SIGHUP is ignored.
    """

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        # Celery puts its own handler there between this and the start.
        self._ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def start(self, parent: Any) -> None:
        install_worker_term_handler(parent, sig="SIGINT")
        if self._ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        else:
            install_worker_term_handler(parent, sig="SIGHUP")


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: Any) -> None:
    """A receiver of this signal, even an empty one, keeps Celery from configuring the log itself."""


def _log_outage(error: Exception, pause_s: float) -> None:
    log.warning("the broker is out of reach (%s); next try in %.1f s", error, pause_s)


class QueueProcess(Protocol):
    """A worker or courier: made before Celery consumes; at its end Celery calls `drain`, then `close`."""

    def work(self, lane: str) -> None:
        """Answer one nudge."""

    def drain(self) -> None: ...

    def close(self) -> None: ...


def process_app(name: str, open_process: Callable[[int, Settings], QueueProcess]) -> Celery:
    """The application of one process, which is made for so many threads once Celery begins.

    Celery swallows what its signals' receivers raise, and would go on to consume nudges in vain: where the
    process cannot be made, this one ends.
    """
    config = settings()
    # Before Celery logs its first line.
    open_log(config)
    app = make_app(name, config.redis)
    opened: list[QueueProcess] = []

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def work(lane: str) -> None:
        opened[0].work(lane)

    def start(instance: Any, **_: Any) -> None:
        try:
            open_traces(config, name)
            opened.append(open_process(instance.concurrency, config))
        except Exception:
            # The outermost frame of the start.
            log.exception("this process cannot begin")
            logging.shutdown()
            os._exit(Exit.NOT_OPENED)

    def drain(**_: Any) -> None:
        for process in opened:
            process.drain()

    def close(**_: Any) -> None:
        for process in opened:
            process.close()
        close_traces()

    # Not `worker_init`: after it Celery sets environment variables, and a thread that reads one in C at that
    # moment, as tokenizers does, reads freed memory.
    signals.celeryd_after_setup.connect(start, weak=False)
    signals.worker_shutting_down.connect(drain, weak=False)
    signals.worker_shutdown.connect(close, weak=False)
    return app


def make_app(name: str, redis: RedisSettings) -> Celery:
    """A Celery application on the broker's database of the record store."""
    # That it runs as root is told, and ends no process whose operator has warnings for errors.
    warnings.simplefilter("default", SecurityWarning)
    sockets = {"socket_timeout": 5, "socket_connect_timeout": 2, "socket_keepalive": True}
    url, options, tls = for_kombu(redis.broker_url, **sockets)
    app = Celery(name, broker=url, set_as_current=True)
    app.steps["worker"].add(StopSignals)
    # A nudge is a hint: to keep it until it is acknowledged would cost more than the nudge.
    app.amqp.Consumer = partial(app.amqp.Consumer, no_ack=True)
    app.conf.update(
        task_ignore_result=True,
        # Cancels only tasks acknowledged late, so none here: runs go on by their leases, whatever becomes of
        # the broker. With False Celery would warn at each loss of a connection.
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_prefetch_multiplier=1,
        # A busy worker must not hold nudges that an idle one could run.
        worker_disable_prefetch=True,
        worker_consumer="worker.celery_app:FastReconnectConsumer",
        worker_hijack_root_logger=True,
        # Three messages per nudge, which cost more than the nudge; `celery control enable_events` turns them
        # on.
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            **sockets,
            "health_check_interval": 5,
            "queue_order_strategy": "round_robin",
        }
        | options,
        broker_use_ssl=tls,
    )
    return app
