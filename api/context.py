"""The objects that one API process holds for as long as it lives."""

from dataclasses import dataclass, field
from typing import Protocol, cast

from fastapi import Request

from api.access.admin_actions import AdminActions
from api.access.keyring import Keyring
from api.admission.foretelling import Foretelling
from api.admission.submission import Submission
from api.batches.counter import Batches
from api.endpoints import Endpoints
from api.files import Files
from api.jobs.jobs import Jobs
from api.jobs.leaving import Leaving
from api.jobs.waiting import Waiting
from api.metrics import Metrics
from api.serving import Serving
from api.wire.reservation import MemoryBudget
from shared.blobs import Blobs
from shared.models import Models
from shared.settings import Settings
from shared.store.headroom import Headroom
from shared.store.jobs import PAGE_BYTES

PAGES_AT_ONCE = 8
"""Pages of lists built at once; each needs the same one thread, and many times its size in memory."""


class Connection(Protocol):
    """What closes the record store's connections."""

    async def aclose(self) -> None: ...


@dataclass(frozen=True)
class ProcessContext:
    """Built once in the lifespan; handlers reach it by `context_of`."""

    settings: Settings
    models: Models
    serving: Serving
    submission: Submission
    foretelling: Foretelling
    jobs: Jobs
    waiting: Waiting
    leaving: Leaving
    keyring: Keyring
    admin_actions: AdminActions
    headroom: Headroom
    endpoints: Endpoints
    files: Files
    batches: Batches
    blobs: Blobs
    metrics: Metrics
    redis: Connection
    pages: MemoryBudget = field(default_factory=lambda: MemoryBudget(PAGES_AT_ONCE * PAGE_BYTES))

    async def aclose(self) -> None:
        """Close in the reverse order of opening."""
        await self.batches.aclose()
        await self.serving.aclose()
        await self.leaving.aclose()
        await self.metrics.aclose()
        await self.redis.aclose()


def context_of(request: Request) -> ProcessContext:
    return cast(ProcessContext, request.app.state.context)
