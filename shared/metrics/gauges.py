"""What the record store knows at the moment it is asked: lines, workers, the server itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.fleet import Fleet
from shared.metrics.api_counters import CLASS
from shared.metrics.metric_types import MODEL, Label, MetricDefinition, gauge

PROMISE = Label("promise", ("p50", "p90"))
STATE = Label("state", ("ready", "loading"))
WHO = (MODEL, Label("worker"), Label("host"))

UP = gauge("sightline_store_up", "1 if Redis answers and accepts writes; else 0, and nothing else is shown.")
ROUND_TRIP = gauge("sightline_store_round_trip_seconds", "One PING of Redis, from the API.")
MEMORY = gauge("sightline_store_memory_bytes", "Memory that Redis uses.")
PROMISED = gauge(
    "sightline_store_memory_promised_bytes",
    "Memory reserved for queued work; new work is refused as if it were used.",
)
LIMIT = gauge("sightline_store_memory_limit_bytes", "Its maxmemory; 0 = none.")
CHARGED = gauge("sightline_store_memory_charged_bytes", "Memory of records, as callers are charged for it.")
BAD_RECORDS = gauge("sightline_store_records_set_aside", "Records that could not be read.")
EVICTS = gauge("sightline_store_evicts", "1 if it may evict accepted jobs when its memory is full.")
DEPTH = gauge("sightline_queue_depth", "Queued runs.", MODEL, CLASS)
OLDEST = gauge("sightline_queue_oldest_seconds", "How long the oldest queued run waits; 0 if none.", MODEL)
RUNNING = gauge("sightline_running", "Claimed runs.", MODEL)
BACKLOG = gauge(
    "sightline_backlog",
    "Rows of queued and running work, the signal to scale workers by; without a paused model's queue.",
    MODEL,
)
PAUSED = gauge("sightline_model_paused", "1 while the model is paused.", MODEL)
FAILED = gauge("sightline_model_failed", "1 if no worker serves the model and its last load failed.", MODEL)
WORKERS = gauge("sightline_workers", "Live workers.", MODEL, STATE)
ROWS = gauge("sightline_rows", "Rows of the ready workers.", MODEL)
BUSY = gauge("sightline_rows_busy", "Rows in use.", MODEL)
SERVICE = gauge("sightline_service_seconds", "Smoothed time that a run takes a row.", MODEL)
SCORED = gauge("sightline_estimate_scored", "Estimates compared with the actual start.", MODEL)
WITHIN = gauge(
    "sightline_estimate_within", "Share of estimates that held; 0.5 and 0.9 are right.", MODEL, PROMISE
)
WORKER_BUSY = gauge("sightline_worker_busy", "Rows of a worker's claimed runs, a few beyond its own.", *WHO)
WORKER_MEMORY = gauge("sightline_worker_memory_bytes", "A worker's resident memory.", *WHO)
WORKER_TOKENS = gauge("sightline_worker_tokens_per_second", "Tokens that a worker generates.", *WHO)
INTAKE = gauge("sightline_intake_depth", "Jobs waiting for a courier to fetch their inputs.")
COURIERS = gauge("sightline_couriers", "Live couriers.")


@dataclass(frozen=True)
class Server:
    """The record store's server, in bytes; `evicts`: it may drop records, `bad`: unreadable records."""

    memory: int
    promised: int
    limit: int
    evicts: bool
    round_trip_s: float
    charged: int = 0
    bad: int = 0


class GaugeValues:
    def __init__(self) -> None:
        self._families: dict[str, GaugeMetricFamily] = {}

    def put(self, gauge: MetricDefinition, value: float, *labels: str) -> None:
        family = self._families.get(gauge.name)
        if family is None:
            family = GaugeMetricFamily(gauge.name, gauge.about, labels=gauge.label_names)
            self._families[gauge.name] = family
        family.add_metric(labels, value)

    def families(self) -> Iterator[Metric]:
        yield from self._families.values()


def store_down() -> Iterator[Metric]:
    """What is known while the record store is out of reach or takes no writes."""
    sheet = GaugeValues()
    sheet.put(UP, 0)
    return sheet.families()


def families(
    models: Sequence[str], fleets: Sequence[Fleet], intake: Fleet, server: Server
) -> Iterator[Metric]:
    """`fleets` are those of the models, in their order."""
    sheet = GaugeValues()
    sheet.put(UP, 1)
    sheet.put(ROUND_TRIP, server.round_trip_s)
    sheet.put(MEMORY, server.memory)
    sheet.put(PROMISED, server.promised)
    sheet.put(CHARGED, server.charged)
    sheet.put(LIMIT, server.limit)
    sheet.put(EVICTS, server.evicts)
    sheet.put(BAD_RECORDS, server.bad)
    sheet.put(INTAKE, intake.lane.queued)
    sheet.put(COURIERS, len(intake.workers))
    for model, fleet in zip(models, fleets, strict=True):
        _put_line(sheet, model, fleet)
        _put_workers(sheet, model, fleet)
        _put_promises(sheet, model, fleet)
    return sheet.families()


def _put_line(sheet: GaugeValues, model: str, fleet: Fleet) -> None:
    lane = fleet.lane
    for name, count in fleet.waiting.items():
        sheet.put(DEPTH, count, model, name)
    sheet.put(OLDEST, max(0, lane.now_ms - (fleet.oldest_ms or lane.now_ms)) / 1000, model)
    sheet.put(RUNNING, lane.running, model)
    sheet.put(BACKLOG, fleet.backlog, model)
    sheet.put(PAUSED, lane.paused, model)
    sheet.put(FAILED, lane.failed is not None and not lane.ready, model)


def _put_workers(sheet: GaugeValues, model: str, fleet: Fleet) -> None:
    for state in STATE.values:
        sheet.put(WORKERS, sum(worker.state == state for worker in fleet.workers), model, state)
    ready = [worker for worker in fleet.workers if worker.state == "ready"]
    sheet.put(ROWS, sum(worker.rows for worker in ready), model)
    sheet.put(BUSY, sum(min(worker.busy, worker.rows) for worker in ready), model)
    for worker in fleet.workers:
        labels = (model, worker.id, worker.host)
        sheet.put(WORKER_BUSY, worker.busy, *labels)
        sheet.put(WORKER_MEMORY, worker.memory, *labels)
        sheet.put(WORKER_TOKENS, worker.tokens_per_s, *labels)


def _put_promises(sheet: GaugeValues, model: str, fleet: Fleet) -> None:
    if fleet.lane.service_ms is not None:
        sheet.put(SERVICE, fleet.lane.service_ms / 1000, model)
    calibration = fleet.lane.calibration
    sheet.put(SCORED, calibration.scored if calibration else 0, model)
    if calibration:
        sheet.put(WITHIN, calibration.within_p50, model, "p50")
        sheet.put(WITHIN, calibration.within_p90, model, "p90")
