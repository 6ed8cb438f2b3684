"""Opens what an API process needs, in order; `ProcessContext.aclose` closes it in the reverse order."""

import logging

from api.access.deeds import Deeds
from api.access.keyring import Keyring
from api.admission.submission import Submission
from api.answers.leaving import Leaving
from api.answers.waiting import Waiting
from api.batches.bench import Bench
from api.batches.counter import Batches
from api.context import ProcessContext
from api.endpoints import Endpoints
from api.files import Files
from api.jobs import Jobs
from api.storing import Storing
from shared.blobs import Blobs
from shared.models import load_models
from shared.settings import Settings
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore, connect_async
from shared.store.wakeups import Wakeups

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Connections:
    """The record store's three connections of one process: calls, nudges, wake-ups."""

    def __init__(self, store: AsyncStore, nudger: AsyncNudger, wakeups: Wakeups) -> None:
        self.store = store
        self.nudger = nudger
        self.wakeups = wakeups

    async def aclose(self) -> None:
        await self.wakeups.aclose()
        await self.nudger.aclose()
        await self.store.client.aclose()


async def open_context(settings: Settings) -> ProcessContext:
    """Raises SettingsError where the models file is wrong; an unreachable store is met by each call."""
    # Uvicorn sets up its own loggers only.
    logging.basicConfig(level=settings.log_level.upper(), format=LOG_FORMAT)
    models = load_models(settings.models_file)
    store, nudger = connect_async(settings.redis), AsyncNudger(settings.redis)
    wakeups = Wakeups(settings.redis)
    await wakeups.open()
    blobs = Blobs(settings.blobs)
    jobs, files = Jobs(settings, store, blobs), Files(settings, store, blobs)
    submission = Submission(settings, models, store, nudger, blobs, files)
    batches = Batches(Bench(settings, store, blobs, Storing(store, blobs), submission))
    batches.open()
    return ProcessContext(
        settings=settings,
        models=models,
        submission=submission,
        jobs=jobs,
        waiting=Waiting(settings, store, wakeups),
        leaving=Leaving(jobs, settings.api.leave_grace_s),
        keyring=Keyring(settings.api, store),
        deeds=Deeds(store),
        endpoints=Endpoints(settings, store),
        files=files,
        batches=batches,
        redis=Connections(store, nudger, wakeups),
    )
