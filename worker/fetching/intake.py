"""Fetches a job's remote pictures, sounds, videos and documents, and admits the job once they are stored.

It uses the same claim, lease and rescue as a run's attempt, but the claim is for a job that has no run yet.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url
from opentelemetry.trace import SpanKind

from shared import ids
from shared.backoff import backoff_s
from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable, digest
from shared.errors import CallerError, Unavailable
from shared.media.documents import AT_ONCE, DocumentRenderer, room_for_pages
from shared.media.files import KINDS, as_its_bytes, inspect_file
from shared.media.kinds import Kind
from shared.media.pictures import PICTURE, check_sizes
from shared.metrics.courier_counters import FETCH, INTAKES
from shared.pending_terms import PendingTerms
from shared.request import Document, Image, Medium, Request, Video
from shared.result import JobError
from shared.settings import FetchSettings, Settings
from shared.store.admission import Placing, admit
from shared.store.claims import Claim, Retry, claim, give_back, settle, take
from shared.store.files import DELETION_POLL_S, HOLD_S, touch
from shared.store.keys import INTAKE
from shared.store.nudges import Nudger
from shared.store.script import ScriptCall, Store
from shared.telemetry import traces
from shared.url_guard import BucketObject, is_in_bucket, refused_as
from worker.claim_loop import POLL_S, AttemptThreads, IdlePoll
from worker.fair_semaphore import FairSemaphore, KeyedFairSemaphore, Waiter
from worker.fetching.fetch import HOSTS, FetchError, fetch
from worker.fetching.guarded_http import Allowance, OriginError, describe
from worker.lease import REFUSED, UNREADABLE_S, Lease, Leases, refused_end, retry_until_stored
from worker.telemetry.attempt_log import AttemptEntry, counted_outcome, log_attempt

if TYPE_CHECKING:
    from obstore.store import ClientConfig

log = logging.getLogger("worker.fetching")
PIECE = 64 * 2**10
STORES = 64
"""Buckets whose clients are kept."""
CONCURRENT_FETCHES = 8
"""Files of one job fetched at the same time."""
SMALL = 2**20
"""Bytes that every job may hold in memory; a job that fetches more needs one of the places for large ones."""
LARGE_JOBS = 4
LONGEST_PAUSE_S = 60.0
"""Between two tries, unless the origin asks for more."""
DOCUMENT_JOBS = 8
"""Jobs with documents at the same time: rendering may take minutes, and other jobs need threads."""


Files = dict[Medium, tuple[Medium, ...]]
"""What was fetched and stored, by its source: of a document the pages."""


@dataclass(frozen=True)
class Intake:
    """Claims jobs, each under a lease, and takes in the inputs of one in an attempt.

    How many jobs of one caller are claimed at a time, the store decides (`functions/fair_queue.lua`).
    """

    settings: Settings
    store: Store
    nudger: Nudger
    blobs: Blobs
    leases: Leases
    worker: str
    draining: threading.Event = field(default_factory=threading.Event)
    large: KeyedFairSemaphore = field(default_factory=lambda: KeyedFairSemaphore(LARGE_JOBS))
    documents: KeyedFairSemaphore = field(default_factory=lambda: KeyedFairSemaphore(DOCUMENT_JOBS))
    rendering: FairSemaphore = field(default_factory=lambda: FairSemaphore(AT_ONCE))

    @cached_property
    def renderer(self) -> DocumentRenderer:
        return DocumentRenderer(self.settings)

    def poll(self, threads: int, pause_s: float = POLL_S) -> IdlePoll[Claim]:
        """Look for work, and make up to so many threads for what is found."""
        return IdlePoll(self.take, AttemptThreads(self.work_on), threads, pause_s)

    def work(self) -> bool:
        """Claim work and attempt it; whether there was some."""
        claimed = self.take()
        if claimed is not None:
            self.attempt(claimed)
        return claimed is not None

    def work_on(self, claimed: Claim | None = None) -> None:
        """Attempt a claim, and whatever else waits: a caller at its limit has used up its nudges."""
        if claimed is not None:
            self.attempt(claimed)
        while self.work():
            pass

    def take(self) -> Claim | None:
        """Claim the next job; none while the courier ends."""
        if self.draining.is_set():
            return None
        call = claim(self.settings, lane=INTAKE, worker=self.worker, token=ids.token(), fingerprint="")
        try:
            return take(self.store.run, call)
        except Unavailable as error:
            # Waiting work is looked for again.
            log.warning("jobs whose inputs are fetched wait: %s", error.message)
            return None

    def attempt(self, claimed: Claim) -> None:
        with self.leases.hold(claimed) as lease:
            try:
                self._attempt(lease)
            except Unavailable as error:
                log.warning("%s is attempted again: %s", claimed.id, error.message)
            except Exception:
                # The outermost frame of an attempt: the claim is renewed no more, and goes back in line.
                log.exception("%s: an attempt was lost", claimed.id)

    def _write(self, lease: Lease, call: ScriptCall[Any]) -> Any:
        """Write the end of an attempt; None where the claim is lost meanwhile."""
        return retry_until_stored(self.store.run, call, lease, refused_end(self.settings, lease.claim))

    def _attempt(self, lease: Lease) -> None:
        with log_attempt(lease.claim) as entry:
            self._take_in(lease, entry)
            if lease.refused:
                entry.outcome, entry.code = "attempt_failed", REFUSED.code
            INTAKES.labels(counted_outcome(entry.outcome)).inc()

    def _take_in(self, lease: Lease, entry: AttemptEntry) -> None:
        try:
            placing = self._placing(lease.claim, self._stored_request(lease))
        except CallerError as error:
            if lease.reason == "draining":
                # A fetch that is cut off is said to have taken too long.
                self._give_back(lease, entry, "worker_draining")
            elif isinstance(error, FetchError) and error.busy:
                self._postpone(lease, entry, error, error.busy.retry_after_s)
            else:
                self._end(lease, entry, error)
        except Unavailable as error:
            lease.cancel.wait(UNREADABLE_S if isinstance(error, BlobsUnavailable) else 0)
            self._give_back(lease, entry, error.code)
        except BlobMissingError as missing:
            log.error("job %s: a file is missing from the blob store", lease.claim.id)
            fault = "A stored picture is missing; send it again."
            self._give_back(lease, entry, "attempt_failed", fault, missing.names)
        except Exception:
            # The outermost frame of an intake: our own failure is counted and tried again.
            log.exception("job %s: its inputs could not be taken in", lease.claim.id)
            self._give_back(lease, entry, "attempt_failed", "The job's inputs could not be taken in.")
        else:
            self._admit(lease, entry, placing)

    def _placing(self, claimed: Claim, request: Request) -> Placing:
        terms, shared = PendingTerms.model_validate_json(claimed.terms), self.settings.queue.share_answers
        return terms.placing(claimed.id, claimed.caller, request, shared=shared)

    def _admit(self, lease: Lease, entry: AttemptEntry, placing: Placing) -> None:
        status = self._write(lease, admit(placing, self.settings, token=lease.claim.token))
        entry.outcome = "admitted" if status in ("queued", "placed") else "lost"
        if status == "queued":
            self.nudger.send(placing.lane)

    def _end(self, lease: Lease, entry: AttemptEntry, error: CallerError) -> None:
        """End the job: what its caller sent is at fault, and another attempt cannot help."""
        entry.outcome, entry.code = "failed", error.code
        failure = JobError(code=error.code, message=error.message, param=error.param)
        self._write(lease, settle(self.settings, lease.claim, failure))

    def _postpone(self, lease: Lease, entry: AttemptEntry, error: FetchError, asked_s: float | None) -> None:
        """Try again after a pause that doubles, or as the origin asks, if the job's deadline allows."""
        entry.outcome, entry.code, tries = "attempt_failed", error.code, lease.claim.attempt
        own_s = backoff_s(tries, self.settings.queue.backoff_s, LONGEST_PAUSE_S)
        pause_s, most = max(asked_s or 0, own_s), self.settings.fetch.max_tries
        # After a longer pause what has come is held no more.
        rest = lease.claim.request if pause_s >= HOLD_S / 2 else error.rest
        again = Retry(pause_s, rest, most, free=asked_s is not None)
        asks = "" if asked_s is None else f", and asks to wait {asked_s:.0f} s"
        message = f"{error.message.removesuffix('.')}{asks} (tried {tries} times)."
        failure = JobError(code=error.code, message=message, param=error.param)
        call = give_back(self.settings, lease.claim, reason="attempt_failed", error=failure, again=again)
        self._write(lease, call)

    def _give_back(
        self, lease: Lease, entry: AttemptEntry, reason: str, fault: str = "", missing: tuple[str, ...] = ()
    ) -> None:
        """Leave the job to another attempt; a `fault` of ours is counted."""
        entry.outcome, error = reason, None
        if fault:
            entry.code = "internal_error"
            error = JobError(code=entry.code, message=fault, retryable=True)
        call = give_back(self.settings, lease.claim, reason=reason, error=error, missing=missing)
        if self._write(lease, call):
            self.nudger.send(INTAKE)

    def _stored_request(self, lease: Lease) -> Request:
        """The claim's request with digests for URLs: all that it shows is in the blob store."""
        request = Request.model_validate_json(lease.claim.request)
        places: dict[Medium, str] = {}
        for place, part in zip(request.places, request.media, strict=True):
            if part.url:
                places.setdefault(_source(part), place)
        self._check(request, request.media)
        files = self._fetch_all(lease, request, places)
        stored = [_stored(part, files) for part in request.media]
        self._check(request, stored)
        return request.with_media(stored)

    def _fetch_all(self, lease: Lease, request: Request, places: dict[Medium, str]) -> Files:
        """Fetch each source once, at the same time; a document becomes its pages.

        Raises CallerError, Unavailable.
        """
        limit_s, settings = self.settings.fetch.limit_s, self.settings
        kinds = [type(source) for source in places]
        # Documents have that of one together: they are held until they are rendered.
        most_mb = settings.pictures.max_mb_request + kinds.count(Video) * settings.videos.max_mb
        most_mb += settings.documents.max_mb if Document in kinds else 0
        max_bytes = int(most_mb * 2**20)
        pool = ThreadPoolExecutor(CONCURRENT_FETCHES, "fetch")
        with ExitStack() as held:
            with JobAllowance(limit_s, max_bytes, lease.cancel, self.large, lease.claim.caller) as allowance:
                if Document in kinds:
                    held.enter_context(allowance.place(self.documents, Document))
                fetch_one = partial(self._fetch_one, lease.claim.id, allowance, traces.here())
                try:
                    fetched = list(pool.map(fetch_one, places, places.values()))
                finally:
                    # Not waited for: after one picture's failure the others end with the allowance.
                    pool.shutdown(wait=False, cancel_futures=True)
            files: Files = {
                source: (file,)
                for source, file in zip(places, fetched, strict=True)
                if not isinstance(file, FetchError | Document)
            }
            self._check_failures(
                lease.claim.id, [file for file in fetched if isinstance(file, FetchError)], request, files
            )
            of_model = PendingTerms.model_validate_json(lease.claim.terms).max_pictures
            room = room_for_pages(request, self.settings, of_model)
            # One after the other, and neither in the time nor in the place for fetching.
            for source, file in zip(places, fetched, strict=True):
                if isinstance(file, Document):
                    files[source] = self._store_pages(lease, file, room)
                    room -= len(files[source])
            return files

    def _check_failures(self, job: str, failed: Sequence[FetchError], request: Request, files: Files) -> None:
        """Raises FetchError for the origin that wants the longest pause, with the `rest` of the request."""
        if failed:
            error = max(failed, key=lambda each: (each.busy and each.busy.retry_after_s) or 0)
            rest = request.with_media(_stored(part, files) for part in request.media)
            error.rest = rest.model_dump_json(exclude_none=True)
            # What came earlier is held for as long again.
            self.store.run(touch(rest.digests, job, output=True))
            raise error

    def _check(self, request: Request, stored: Sequence[Medium | tuple[Medium, ...]]) -> None:
        """Check the stored pictures together; they count as often as the model sees them.

        Raises CallerError `payload_too_large`, `invalid_image`, BlobMissingError, BlobsUnavailable.
        """
        limits = self.settings.pictures
        shown = [
            (image.digest, place)
            for place, part in zip(request.places, stored, strict=True)
            for image in (part if isinstance(part, tuple) else (part,))
            if isinstance(image, Image) and image.digest
        ]
        PICTURE.check_count([place for _, place in shown], limits)
        try:
            check_sizes([(self.blobs.size(name), place) for name, place in dict(shown).items()], limits)
        except BlobMissingError:
            self.blobs.check_mounted()
            raise

    def _fetch_one(
        self, job: str, allowance: Allowance, carrier: str, source: Medium, param: str
    ) -> Medium | FetchError:
        """Fetch one file, into the blob store if it is no document. What it is, its bytes say.

        An origin that may deliver later stops none of the other fetches.
        """
        part = source.model_copy(update={"param": param})
        url = part.url or ""
        try:
            # This thread is not the attempt's, so the span cannot find its parent by itself.
            with traces.span("fetch", {"server.address": _host(url)}, kind=SpanKind.CLIENT, carrier=carrier):
                body = self._fetch(url, part, allowance)
        except FetchError as failed:
            if failed.busy is None:
                raise
            return failed
        part = as_its_bytes(part, body)
        if isinstance(part, Document):
            return part.model_copy(update={"data": body})
        inspect_file(type(part), body, self.settings, param)
        return self._store_one(job, body, type(part))

    def _store_pages(self, lease: Lease, document: Document, room: int) -> tuple[Medium, ...]:
        """Render a document into the blob store. Raises CallerError `invalid_document`, Unavailable."""
        files = []
        with (
            self.rendering.reserve(1, Waiter(lease.claim.caller)),
            closing(self.renderer.pictures(document, document.data or b"", room)) as images,
        ):
            for image in images:
                files.append(self._store_one(lease.claim.id, image.data or b"", Image))
                if lease.cancel.is_set():
                    raise Unavailable("worker_draining", "The job was cancelled, or the courier ends.")
        return tuple(files)

    def _store_one(self, job: str, body: bytes, kind: type[Medium]) -> Medium:
        name = digest(body)
        # It was accepted, so a full store takes it.
        while self.store.run(touch((name,), job, output=True)):
            time.sleep(DELETION_POLL_S)
        self.blobs.write(name, body)
        return kind(digest=name)

    def _fetch(self, url: str, part: Medium, allowance: Allowance) -> bytes:
        settings, kind, param = self.settings.fetch, KINDS[type(part)], part.param
        max_bytes = int(kind.limits(self.settings).max_mb * 2**20)
        with refused_as(kind.url_code), FETCH.labels(kind.noun).time():
            if is_in_bucket(url):
                target = settings.bucket_rules.check(url, allowance.caller, param)
                return fetch_object(target, settings, max_bytes, param, allowance, kind)
            return fetch(url, settings, max_bytes, param, allowance, kind=kind)


def _source(part: Medium) -> Medium:
    """The same for parts of one file, however they are shown."""
    if isinstance(part, Document):
        return Document(url=part.url, pages=part.pages)
    return type(part)(url=part.url)


def _stored(part: Medium, files: Files) -> Medium | tuple[Medium, ...]:
    """The part under the digests of what was fetched for it; as it is where that is yet to come."""
    stored = files.get(_source(part)) if part.url else None
    if stored is None:
        return part
    if type(stored[0]) is type(part):
        return part.model_copy(update={"url": None, "digest": stored[0].digest})
    return stored


class JobAllowance(Allowance):
    """The allowance of one job, for a block; at its end threads still fetching for the job are stopped.

    Few jobs may hold more than `SMALL` bytes in memory at once: each needs one of the `places`.
    """

    def __init__(
        self, limit_s: float, max_bytes: int, cancel: threading.Event, places: KeyedFairSemaphore, caller: str
    ) -> None:
        super().__init__(limit_s, max_bytes, cancel, caller)
        self._large_places, self._place = places, ExitStack()
        self._received = 0
        self._is_large = self._ended = False
        self._growing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with self._growing:
            self._place.close()

    def remaining_s(self) -> float:
        if self._ended:
            raise TimeoutError
        return super().remaining_s()

    def count_bytes(self, count: int) -> None:
        """As `Allowance.count_bytes`, but beyond `SMALL` bytes it waits for a place.

        Raises TimeoutError, and Unavailable `queue_full` if no place comes.
        """
        super().count_bytes(count)
        with self._growing:
            self.remaining_s()
            self._received += count
            if self._received > SMALL and not self._is_large:
                self._place.enter_context(self.place(self._large_places, "large"))
                self._is_large = True


def _host(url: str) -> str:
    """The only part of a URL that may be logged: the rest may hold a secret. "" if it is no URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def fetch_object(
    target: BucketObject,
    settings: FetchSettings,
    max_bytes: int,
    param: str | None,
    allowance: Allowance,
    kind: Kind,
) -> bytes:
    """The object's bytes, without retries. Raises FetchError, Unavailable `queue_full`."""
    try:
        with allowance.place(HOSTS, target.bucket):
            return _read(_store(target.scheme, target.bucket, settings.limit_s), target, max_bytes, allowance)
    except (NotFoundError, FileNotFoundError):
        reason = "the bucket has no such object"
    except (PermissionDeniedError, UnauthenticatedError):
        reason = "the bucket refuses the service's credentials"
    except (OriginError, OSError) as fault:
        reason = describe(fault, "bucket", settings.limit_s)
    except (BaseError, ValueError):
        reason = "the bucket could not be read"
    raise FetchError(kind, reason, param)


def _read(store: ObjectStore, target: BucketObject, max_bytes: int, allowance: Allowance) -> bytes:
    found = obstore.get(store, target.key)
    if found.meta["size"] > max_bytes:
        raise OriginError(f"it is larger than {max_bytes} bytes")
    content = bytearray()
    for piece in found.stream(min_chunk_size=PIECE):
        allowance.remaining_s()
        allowance.count_bytes(len(piece))
        content += piece
    return bytes(content)


@lru_cache(STORES)
def _store(scheme: str, bucket: str, limit_s: float) -> ObjectStore:
    """A client of the whole bucket. `allow_http` permits an endpoint that the operator set to http."""
    limit = timedelta(seconds=limit_s)
    client: ClientConfig = {"connect_timeout": limit, "timeout": limit, "allow_http": True}
    return from_url(f"{scheme}://{bucket}", client_options=client, retry_config={"max_retries": 0})
