"""Callers' batches: made, listed, read, cancelled; for a caller the batches of others do not exist."""

from api.admission.readiness import idempotency_error
from api.admission.submission import Idempotency
from api.auth.callers import Caller
from api.batches.lease import BatchContext
from api.batches.runner import BatchRunner
from api.dialects.openai.batches import BatchRequest
from api.files import life_of
from shared import ids
from shared.batch import Batch
from shared.errors import CallerError, ServiceError, Unavailable
from shared.store import batches
from shared.store.headroom import Headroom

BUSY_S = 60
"""A batch takes its time: asking for another sooner is mostly in vain."""


class Batches:
    """Knows nothing of HTTP. `open` starts this process's work on the batches of all callers."""

    def __init__(self, context: BatchContext, headroom: Headroom) -> None:
        self._settings = context.settings
        self._store = context.store
        self._runner = BatchRunner(context)
        self._headroom = headroom

    def open(self) -> None:
        self._runner.start()

    async def aclose(self) -> None:
        await self._runner.aclose()

    async def create(self, caller: Caller, request: BatchRequest, idempotency: Idempotency | None) -> Batch:
        """Make a batch; repeated with the same idempotency key it is the same batch.

        Raises CallerError (`file_not_found`, `invalid_request`, `idempotency_mismatch`), Unavailable
        (`store_unavailable`, `caller_queue_full`).
        """
        await self._headroom.check()
        key, body_digest = (None, None) if idempotency is None else (idempotency.key, idempotency.body_digest)
        batch = Batch(
            id=ids.batch_id_of(caller.id, key) if key else ids.batch_id(),
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
        outcome, created = await self._store.run(batches.create(self._settings, batch, body_digest))
        if created is None:
            raise _refusal(outcome)
        self._runner.wake()
        return created

    async def get(self, caller: str, id: str) -> Batch:
        """Raises CallerError `batch_not_found`."""
        return _require(await self._store.run(batches.batch(caller, id)))

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
