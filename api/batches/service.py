"""Callers' batches: made, listed, read, cancelled; for a caller the batches of others do not exist."""

import asyncio
import builtins
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from pydantic_core import from_json

from api.admission.checks import webhook_target
from api.admission.readiness import idempotency_error
from api.admission.submission import Idempotency
from api.auth.callers import Caller
from api.batches.lease import BatchContext
from api.batches.line_endpoints import PAGES
from api.batches.runner import BatchRunner
from api.dialects.native.job_requests import JobCall
from api.dialects.native.page_jobs import PageRow, to_page_row
from api.dialects.openai.batches import BatchRequest
from api.files import life_of
from api.server.memory_budget import Reservation
from shared import ids
from shared.batch import ENDED, Batch
from shared.blobs import BlobMissingError
from shared.errors import CallerError, ServiceError, Unavailable
from shared.job import Hook
from shared.offload import offload_if_large
from shared.store import batches
from shared.store.files import file
from shared.store.headroom import Headroom
from shared.webhooks import Webhook

BUSY_S = 60
"""A batch takes its time: asking for another sooner is mostly in vain."""


class Batches:
    """Knows nothing of HTTP. `open` starts this process's work on the batches of all callers."""

    def __init__(self, context: BatchContext, headroom: Headroom) -> None:
        self._settings = context.settings
        self._store = context.store
        self._runner = BatchRunner(context)
        self._headroom = headroom
        self._submission, self._blobs, self._renderer = context.submission, context.blobs, context.renderer

    def open(self) -> None:
        self._runner.start()

    async def aclose(self) -> None:
        await self._runner.aclose()
        await asyncio.to_thread(self._renderer.close)

    async def create(self, caller: Caller, request: BatchRequest, idempotency: Idempotency | None) -> Batch:
        """Make a batch; repeated with the same idempotency key it is the same batch.

        Raises CallerError (`file_not_found`, `invalid_request`, `idempotency_mismatch`), Unavailable
        (`store_unavailable`, `caller_queue_full`).
        """
        hook = webhook_target(request.webhook, caller, self._settings)
        return await self._begin(self._new(caller, request, idempotency), idempotency, hook)

    async def create_pages(
        self, caller: Caller, call: JobCall, idempotency: Idempotency | None, reservation: Reservation
    ) -> Batch:
        """Make a job of pages; repeated with the same idempotency key it is the same one.

        Raises as `create`, and as `Submission.check_pages`.
        """
        request = call.request
        wanted = BatchRequest(request.documents[0].file or "", PAGES, call.metadata, life_s=None)
        batch = self._new(caller, wanted, idempotency)
        if idempotency is None or await self._store.run(batches.batch(caller.id, batch.id)) is None:
            numbers = await self._submission.check_pages(request, caller, reservation)
            pages = ",".join(map(str, numbers))
            batch = replace(batch, question=request.model_dump_json(exclude_none=True), pages=pages)
        hook = webhook_target(call.webhook, caller, self._settings)
        return await self._begin(batch, idempotency, hook)

    def _new(self, caller: Caller, request: BatchRequest, idempotency: Idempotency | None) -> Batch:
        return Batch(
            id=ids.batch_id_of(caller.id, idempotency.key) if idempotency else ids.batch_id(),
            caller=caller.id,
            stage="validating",
            file=request.file,
            digest="",
            endpoint=request.endpoint,
            created_ms=0,
            expires_ms=0,
            life_s=life_of(caller, request.life_s, self._settings),
            metadata=request.metadata,
            stages_ms={},
            max_queued=caller.max_queued,
            retain_s=caller.retain_s,
        )

    async def _begin(
        self, batch: Batch, idempotency: Idempotency | None, hook: Webhook | str | None
    ) -> Batch:
        await self._headroom.check()
        body_digest = None if idempotency is None else idempotency.body_digest
        outcome, created = await self._store.run(batches.create(self._settings, batch, body_digest, hook))
        if created is None:
            raise _refusal(outcome)
        self._runner.wake()
        return created

    async def get(self, caller: str, id: str) -> Batch:
        """Raises CallerError `batch_not_found`."""
        return _require(await self._store.run(batches.batch(caller, id)))

    async def get_pages(self, caller: str, id: str) -> Batch:
        """A batch that is a job of pages. Raises CallerError `job_not_found`."""
        batch = await self._store.run(batches.batch(caller, id))
        if batch is None or batch.question is None:
            raise CallerError("job_not_found", "There is no such job.")
        return batch

    async def hook(self, batch: Batch) -> Hook | None:
        return await self._store.run(batches.hook(batch.caller, batch.id)) if batch.hook else None

    async def page_rows(
        self, batch: Batch, read: set[str], *, after: int = 0
    ) -> tuple[Batch, builtins.list[tuple[int, PageRow]]]:
        """A job of pages and its rows behind `after`, in order, without those in blobs that were `read`.

        Raises CallerError `job_not_found`, `result_expired`.
        """
        batch, names = await self._names(batch)
        unread = [name for name in names if name not in read]
        try:
            data = b"".join([await self._blobs.in_thread(self._blobs.read, name) for name in unread])
        except BlobMissingError:
            raise _expired() from None
        read.update(unread)
        rows = await offload_if_large(partial(_page_rows, data), len(data))
        return batch, sorted(((n, row) for n, row in rows if n > after), key=lambda numbered: numbered[0])

    async def results(self, caller: str, id: str) -> AsyncIterator[bytes]:
        """The rows that are written so far, of all lines in the end, in pieces.

        Raises CallerError `batch_not_found`, `result_expired`.
        """
        _, names = await self._names(await self.get(caller, id))
        return self._joined(names)

    async def _joined(self, names: Sequence[str]) -> AsyncIterator[bytes]:
        for name in names:
            async for piece in await self._blobs.stream(name):
                yield piece

    async def _names(self, batch: Batch) -> tuple[Batch, builtins.list[str]]:
        """A batch and the blobs that hold its rows. Raises `batch_not_found`, `result_expired`."""
        if batch.stage not in ENDED:
            good, bad = await self._store.run(batches.rows_so_far(batch.caller, batch.id))
            if good + bad or not batch.completed + batch.failed:
                return batch, good + bad
            # It has ended meanwhile: its rows are in its files.
            batch = await self.get(batch.caller, batch.id)
        records = [await self._store.run(file(batch.caller, id)) for id in (batch.output, batch.error) if id]
        if None in records or batch.stage not in ENDED:
            raise _expired()
        return batch, [record.digest for record in records if record]

    async def list(self, caller: str, *, limit: int, after: str | None) -> tuple[list[Batch], bool]:
        """A page, newest first, and whether there are more. Raises CallerError `batch_not_found`."""
        page = await self._store.run(batches.batches(caller, after=after, limit=limit + 1))
        if page is None:
            raise CallerError("batch_not_found", "The cursor names no batch of yours.", param="after")
        return page[:limit], len(page) > limit

    async def cancel(self, caller: str, id: str) -> Batch:
        """Harmless if repeated, and after the end. Raises CallerError `batch_not_found`."""
        cancelled = _require(await self._store.run(batches.cancel(caller, id)))
        self._runner.wake()
        return cancelled


def _page_rows(data: bytes) -> list[tuple[int, PageRow]]:
    return [to_page_row(from_json(line)) for line in data.splitlines()]


def _expired() -> CallerError:
    return CallerError("result_expired", "The answers of this batch are no longer kept.")


def _refusal(outcome: str) -> ServiceError:
    if outcome == "many":
        message = f"You have {batches.MOST} batches under way already."
        return Unavailable("caller_queue_full", message, retry_after=BUSY_S)
    if outcome == "mismatch":
        return idempotency_error(outcome)
    if outcome == "missing":
        return CallerError("file_not_found", "There is no such file.", param="input_file_id")
    message = "Upload the file with the purpose `batch`."
    return CallerError("invalid_request", message, param="input_file_id")


def _require(batch: Batch | None) -> Batch:
    if batch is None:
        raise CallerError("batch_not_found", "There is no such batch.")
    return batch
