"""Our own service: a record server, the API, a courier, and a worker for each core or one for all."""

import sys
import time

from benchmarks.batching.plan import WIDE, Part
from benchmarks.batching.questions import Subject, Wire
from benchmarks.processes import Processes
from benchmarks.server import NotStartedError, RecordServer, free_port
from shared.models import Model
from shared.models_file import load_models
from shared.settings import RedisSettings, Settings, WorkerSettings
from shared.store import jobs
from shared.store.script import connect
from sightline.serving import processes

ROWS = 16


def start(started: Processes, part: Part, subject: Subject, limit_s: float) -> tuple[int, Wire]:
    """Its port, once every worker is ready. Raises NotStartedError."""
    redis, model = _records(started), _model(started, part, subject)
    workers, threads = (1, part.cores) if part.system == WIDE else (part.cores, 1)
    settings, port = Settings(redis=redis, worker=WorkerSettings(threads=threads)), free_port()
    env = {
        "SIGHTLINE_REDIS__URL": redis.url.get_secret_value(),
        "SIGHTLINE_BLOBS__URL": str(started.folder / "blobs"),
        "SIGHTLINE_MODELS_FILE": str(started.folder / "models.toml"),
        # Callers may wait long for others' answers: the measurement sets the end.
        "SIGHTLINE_API__SYNC_LIMIT_S": "3600",
        "SIGHTLINE_WORKER__THREADS": str(threads),
    }
    worker = processes.worker(settings, model)
    for number in range(workers):
        argv = (*worker.argv, "-n", f"worker-{number}@%h")
        started.start(f"worker-{number}", sys.executable, "-m", *argv, env=env | dict(worker.env))
    started.start("courier", sys.executable, "-m", *processes.courier(settings).argv, env=env)
    started.start("api", sys.executable, "-m", *processes.api(settings, "127.0.0.1", port).argv, env=env)
    started.wait_until("worker-0", f"http://127.0.0.1:{port}/ready", limit_s)
    _wait_for_workers(settings, model, workers, limit_s)
    return port, Wire(model.id, counts_when_asked=True)


def _records(started: Processes) -> RedisSettings:
    records = RecordServer(started.folder)
    started.processes["redis"] = records.start()
    return RedisSettings.model_validate({"url": records.url()})


def _model(started: Processes, part: Part, subject: Subject) -> Model:
    file = started.folder / "models.toml"
    engine, rows = ("sequential", 1) if part.system == "sequential" else ("continuous", ROWS)
    file.write_text(
        f'[[models]]\nid = "bench/{subject.name}"\nsource = "{subject.folder}"\nengine = "{engine}"\n'
        f'rows = {rows}\ndtype = "{part.dtype}"\nmax_new_tokens = {subject.longest}\n'
    )
    return load_models(file).rows[0]


def _wait_for_workers(settings: Settings, model: Model, workers: int, limit_s: float) -> None:
    deadline, store = time.monotonic() + limit_s, connect(settings.redis)
    while store.run(jobs.lane(settings, model.lane)).ready < workers:
        if time.monotonic() > deadline:
            raise NotStartedError(f"fewer than {workers} workers are ready")
        time.sleep(0.1)
    store.client.close()
