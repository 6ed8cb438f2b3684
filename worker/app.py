"""The model worker: `python -m worker -A worker.app worker --pool=threads -c <rows + 2> -Q <lane>`."""

from shared.registry import model_of_worker
from shared.settings import Settings
from worker.celery_app import process_app
from worker.model_worker import ModelWorker, open_model_worker


def _open(threads: int, settings: Settings) -> ModelWorker:
    model, row = model_of_worker(settings)
    return open_model_worker(settings, model, threads, row)


app = process_app("sightline-worker", _open)
