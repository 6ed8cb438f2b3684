"""The objects that one API process holds for as long as it lives."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from api.admission.cached_answers import CachedAnswers
from api.admission.documents import Documents
from api.admission.forecast import Forecaster
from api.admission.media_check import PictureInfoCache
from api.admission.submission import Submission
from api.auth.api_keys import ApiKeys
from api.batches.lease import BatchContext
from api.batches.service import Batches
from api.files import Files, FileWriter
from api.jobs.disconnects import Disconnects
from api.jobs.live import SharedPolls
from api.jobs.pictures import JobPictures
from api.jobs.service import Jobs
from api.jobs.waiting import Waiting
from api.metrics import Metrics
from api.models_admin import LiveModels
from api.server.memory_budget import MemoryBudget
from shared.blobs import Blobs
from shared.media.documents import DocumentRenderer
from shared.models import Models
from shared.models_file import load_models
from shared.settings import Settings
from shared.store.headroom import Headroom
from shared.store.jobs import PAGE_BYTES
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore, connect_async
from shared.store.wakeups import Wakeups

PAGES_AT_ONCE = 8
"""Pages of lists built at once; each needs the same one thread, and many times its size in memory."""


@dataclass(frozen=True)
class ProcessContext:
    """Built once in the lifespan; handlers reach it by `context_of`."""

    settings: Settings
    models: Models
    serving: LiveModels
    submission: Submission
    forecaster: Forecaster
    jobs: Jobs
    polls: SharedPolls
    pictures: JobPictures
    waiting: Waiting
    disconnects: Disconnects
    api_keys: ApiKeys
    headroom: Headroom
    files: Files
    documents: Documents
    batches: Batches
    blobs: Blobs
    metrics: Metrics
    store: AsyncStore
    nudger: AsyncNudger
    wakeups: Wakeups
    pages: MemoryBudget

    async def aclose(self) -> None:
        """Close in the reverse order of opening."""
        await self.batches.aclose()
        await self.serving.aclose()
        await self.disconnects.aclose()
        await self.pictures.aclose()
        await self.documents.aclose()
        await self.metrics.aclose()
        await self.wakeups.aclose()
        await self.nudger.aclose()
        await self.store.aclose()


def context_of(request: Request) -> ProcessContext:
    return cast(ProcessContext, request.app.state.context)


async def open_context(settings: Settings) -> ProcessContext:
    """Open what an API process needs, in order; `ProcessContext.aclose` closes it in the reverse order.

    Raises SettingsError where the models file is wrong; an unreachable store fails each call instead.
    """
    models = load_models(settings.models_file)
    store, nudger = connect_async(settings.redis), AsyncNudger(settings.redis)
    wakeups = Wakeups(settings.redis)
    await wakeups.open()
    blobs = Blobs(settings.blobs)
    headroom = Headroom(store, settings.redis.full_at)
    jobs, files = Jobs(settings, store, blobs), Files(settings, store, blobs, headroom)
    serving = LiveModels(models, store)
    await serving.open()
    cached_answers = CachedAnswers(settings, store)
    pictures = PictureInfoCache(settings.pictures, blobs)
    documents = Documents(settings, files)
    submission = Submission(
        settings, models, store, nudger, blobs, pictures, files, headroom, cached_answers, documents
    )
    renderer, storing = DocumentRenderer(settings), FileWriter(store, blobs, output=True)
    batches = Batches(BatchContext(settings, store, blobs, storing, submission, renderer), headroom)
    batches.open()
    metrics = Metrics(settings, models, store, headroom)
    metrics.open()
    return ProcessContext(
        settings=settings,
        models=models,
        serving=serving,
        submission=submission,
        forecaster=Forecaster(settings, models, store, submission),
        jobs=jobs,
        polls=SharedPolls(),
        pictures=JobPictures(settings, store, blobs, pictures),
        waiting=Waiting(settings, store, wakeups),
        disconnects=Disconnects(jobs, settings.api.leave_grace_s),
        api_keys=ApiKeys(settings.api, store),
        headroom=headroom,
        files=files,
        documents=documents,
        batches=batches,
        blobs=blobs,
        metrics=metrics,
        store=store,
        nudger=nudger,
        wakeups=wakeups,
        pages=MemoryBudget(PAGES_AT_ONCE * PAGE_BYTES, shared=settings.api.admin_key is not None),
    )
