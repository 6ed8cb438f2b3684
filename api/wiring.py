"""Opens what an API process needs, in order; `ProcessContext.aclose` closes it in the reverse order."""

from api.access.admin_actions import AdminActions
from api.access.keyring import Keyring
from api.admission.foretelling import Foretelling
from api.admission.submission import Submission
from api.batches.context import BatchContext
from api.batches.counter import Batches
from api.context import ProcessContext
from api.endpoints import Endpoints
from api.files import Files
from api.jobs.jobs import Jobs
from api.jobs.leaving import Leaving
from api.jobs.waiting import Waiting
from api.metrics import Metrics
from api.serving import Serving
from api.storing import Storing
from shared.blobs import Blobs
from shared.metrics.telling import start_telling
from shared.models_file import load_models
from shared.settings import Settings
from shared.store.headroom import Headroom
from shared.store.keys import INTAKE
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore, LoopStore, connect_async
from shared.store.wakeups import Wakeups


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
    """Raises SettingsError where the models file is wrong; an unreachable store fails each call instead."""
    models = load_models(settings.models_file)
    store, nudger = connect_async(settings.redis), AsyncNudger(settings.redis)
    wakeups = Wakeups(settings.redis)
    await wakeups.open()
    blobs = Blobs(settings.blobs)
    headroom = Headroom(store, settings.redis.full_at, lambda: [*(m.lane for m in models.rows), INTAKE])
    jobs, files = Jobs(settings, store, blobs), Files(settings, store, blobs, headroom)
    serving = Serving(models, store)
    await serving.open()
    submission = Submission(settings, models, store, nudger, blobs, files, headroom)
    batches = Batches(BatchContext(settings, store, blobs, Storing(store, blobs), submission), headroom)
    batches.open()
    tally = start_telling(settings.metrics, LoopStore(store))
    return ProcessContext(
        settings=settings,
        models=models,
        serving=serving,
        submission=submission,
        foretelling=Foretelling(settings, models, store, submission),
        jobs=jobs,
        waiting=Waiting(settings, store, wakeups),
        leaving=Leaving(jobs, settings.api.leave_grace_s),
        keyring=Keyring(settings.api, store),
        admin_actions=AdminActions(store),
        headroom=headroom,
        endpoints=Endpoints(settings, store, headroom),
        files=files,
        batches=batches,
        blobs=blobs,
        metrics=Metrics(settings, models, store, tally),
        redis=Connections(store, nudger, wakeups),
    )
