"""Fetches a job's remote pictures and sounds, and admits the job once they are stored.

It uses the same claim, lease and rescue as a run's attempt, but the claim is for a job that has
no run yet."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from shared import ids
from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable, digest
from shared.errors import CallerError, Unavailable
from shared.media import sounds
from shared.media.pictures import PictureInfo, check_request, check_sizes, inspect
from shared.media.sounds import refused_as_sound
from shared.metrics.counters import FETCH, INTAKES
from shared.pending_terms import HeldTerms
from shared.request import Image, Media, Request
from shared.result import JobError
from shared.settings import Settings
from shared.store.admission import DELETION_POLL_S, Placing, admit, touch
from shared.store.claims import Claim, claim, fail_intake, give_back, take
from shared.store.keys import INTAKE
from shared.store.nudges import Nudger
from shared.store.script import Store
from shared.telemetry import traces
from worker.fair_share import KeyedFairSemaphore
from worker.fetching.fetch import SOUNDS, fetch
from worker.fetching.guarded_http import Allowance
from worker.lease import Lease, Leases, insist
from worker.telemetry.attempt_log import Entry, attempted, word_of

# Limits what one job may fetch, and how many jobs may hold much of it in memory at once.

SMALL = 2**20
"""Bytes that every job may hold; a job that fetches more needs one of the places."""
LARGE_AT_ONCE = 4


class JobAllowance(Allowance):
    """The allowance of one job, for a block; at its end threads still fetching for the job are stopped."""

    def __init__(
        self, limit_s: float, max_bytes: int, cancel: threading.Event, places: KeyedFairSemaphore, caller: str
    ) -> None:
        super().__init__(limit_s, max_bytes, cancel, caller)
        self._places, self._place = places, ExitStack()
        self._taken = 0
        self._large = self._over = False
        self._growing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        with self._growing:
            self._place.close()

    def left(self) -> float:
        if self._over:
            raise TimeoutError
        return super().left()

    def take(self, count: int) -> None:
        """As `Allowance.take`, but beyond `SMALL` bytes it waits for a place.

        Raises TimeoutError, and Unavailable `queue_full` if no place comes.
        """
        super().take(count)
        with self._growing:
            self.left()
            self._taken += count
            if self._taken > SMALL and not self._large:
                self._place.enter_context(self.turn(self._places, "large"))
                self._large = True


log = logging.getLogger("worker.fetching")
AT_ONCE = 8
"""Pictures of one job fetched at the same time."""


class Fetched(NamedTuple):
    """A file now in the blob store: its digest, its size in bytes, and what a picture's headers say."""

    name: str
    size: int
    info: PictureInfo | None


@dataclass(frozen=True)
class Intake:
    """What the fetching of inputs works with."""

    settings: Settings
    store: Store
    nudger: Nudger
    blobs: Blobs
    leases: Leases
    worker: str
    large: KeyedFairSemaphore = field(default_factory=lambda: KeyedFairSemaphore(LARGE_AT_ONCE))

    def work(self) -> None:
        """Answer one nudge: claim a job that waits for its inputs, fetch them, admit it."""
        taken = self._claimed()
        if taken is None:
            return
        with self.leases.hold(taken) as lease, attempted(taken) as entry:
            self._take_in(lease, entry)
            INTAKES.labels(word_of(entry.outcome)).inc()

    def _claimed(self) -> Claim | None:
        call = claim(self.settings, lane=INTAKE, worker=self.worker, token=ids.token(), fingerprint="")
        try:
            return take(self.store, call)
        except Unavailable as error:
            # Waiting jobs are nudged for again.
            log.warning("fetches wait: %s", error.message)
            return None

    def _take_in(self, lease: Lease, entry: Entry) -> None:
        claimed = lease.claim
        try:
            placing = self._placing(claimed, self._fetched(lease))
        except CallerError as error:
            entry.outcome, entry.code = "failed", error.code
            failure = JobError(code=error.code, message=error.message, param=error.param)
            insist(self.store.run, fail_intake(self.settings, claimed, failure), lease)
        except Unavailable as error:
            # The next courier to claim it would fetch everything again and fail in the same way.
            lease.cancel.wait(self.settings.queue.backoff_s if isinstance(error, BlobsUnavailable) else 0)
            entry.outcome = error.code
            self._give_back(lease, error.code, None)
        except BlobMissingError as missing:
            log.error("job %s: a file is missing from the blob store", claimed.id)
            self._fail(lease, entry, "A stored picture is missing; send it again.", missing.names)
        except Exception:
            # The outermost frame of an intake: our own failure is counted and tried again.
            log.exception("job %s: its inputs could not be taken in", claimed.id)
            self._fail(lease, entry, "The job's inputs could not be taken in.")
        else:
            word = insist(self.store.run, admit(placing, self.settings, token=claimed.token), lease)
            entry.outcome = "admitted" if word in ("queued", "placed") else "lost"
            if word == "queued":
                self.nudger.send(placing.lane)

    def _fail(self, lease: Lease, entry: Entry, message: str, missing: tuple[str, ...] = ()) -> None:
        entry.outcome, entry.code = "attempt_failed", "internal_error"
        error = JobError(code="internal_error", message=message, retryable=True)
        self._give_back(lease, "attempt_failed", error, missing)

    def _give_back(
        self, lease: Lease, reason: str, error: JobError | None, missing: tuple[str, ...] = ()
    ) -> None:
        call = give_back(self.settings, lease.claim, reason=reason, error=error, missing=missing)
        if insist(self.store.run, call, lease):
            self.nudger.send(INTAKE)

    def _fetched(self, lease: Lease) -> Request:
        """The claim's request with all that it shows in the blob store; it is fetched at the same time."""
        request, limits = Request.model_validate_json(lease.claim.request), self.settings.pictures
        named = [
            (part.url, type(part), place)
            for place, part in zip(request.places, request.media, strict=True)
            if part.url
        ]
        if not named:
            # Nothing to fetch: the job only had to wait for its time.
            return request
        places: dict[tuple[str, type[Media]], str] = {}
        for url, kind, param in named:
            places.setdefault((url, kind), param)
        stored, most = self._stored(request), int(limits.max_mb_request * 2**20)
        pool = ThreadPoolExecutor(AT_ONCE, "fetch")
        with JobAllowance(
            self.settings.fetch.limit_s, most, lease.cancel, self.large, lease.claim.caller
        ) as haul:
            hold = partial(self._held, lease.claim.id, haul, traces.here())
            try:
                held = list(pool.map(hold, places, places.values()))
            finally:
                # Not waited for: after one picture's failure the others end with the haul.
                pool.shutdown(wait=False, cancel_futures=True)
        found = dict(zip(places, held, strict=True))
        # Counted as often as it is shown: the model sees a picture named twice two times.
        seen = [(found[url, kind], param) for url, kind, param in named]
        check_request([replace(one.info, param=param) for one, param in seen if one.info], limits)
        fetched = {one.name: (one.size, param) for one, param in seen if one.info}
        check_sizes((stored | fetched).values(), limits)
        return request.with_media(
            tuple(
                type(part)(digest=found[part.url, type(part)].name) if part.url else part
                for part in request.media
            )
        )

    def _stored(self, request: Request) -> dict[str, tuple[int, str]]:
        """The size in bytes and the place of each picture that is stored already.

        Raises BlobMissingError, BlobsUnavailable.
        """
        return {
            part.digest: (self.blobs.size(part.digest), place)
            for place, part in zip(request.places, request.media, strict=True)
            if isinstance(part, Image) and part.digest
        }

    def _held(
        self, job: str, haul: JobAllowance, carrier: str, named: tuple[str, type[Media]], param: str
    ) -> Fetched:
        """Fetch one picture or sound into the blob store."""
        url, kind = named
        # This thread is not the attempt's, so the span cannot find its parent by itself.
        with traces.span("fetch", {"server.address": _host(url)}, kind="client", carrier=carrier):
            body, info = self._picture(url, haul, param) if kind is Image else self._sound(url, haul, param)
        name = digest(body)
        while self.store.run(touch((name,), job)):
            time.sleep(DELETION_POLL_S)
        self.blobs.write(name, body)
        return Fetched(name, len(body), info)

    def _picture(self, url: str, haul: JobAllowance, param: str) -> tuple[bytes, PictureInfo]:
        limits = self.settings.pictures
        with FETCH.labels("picture").time():
            body = fetch(url, self.settings.fetch, int(limits.max_mb * 2**20), param, haul)
        return body, inspect(body, limits, param)

    def _sound(self, url: str, haul: JobAllowance, param: str) -> tuple[bytes, None]:
        limits = self.settings.sounds
        with refused_as_sound(), FETCH.labels("sound").time():
            body = fetch(url, self.settings.fetch, int(limits.max_mb * 2**20), param, haul, wanted=SOUNDS)
        sounds.check_sound(body, limits, param)
        return body, None

    def _placing(self, claimed: Claim, request: Request) -> Placing:
        held, shared = HeldTerms.model_validate_json(claimed.terms), self.settings.queue.share_answers
        return held.placing(claimed.id, claimed.caller, request, shared=shared)


def _host(url: str) -> str:
    """The only part of a URL that may be logged: the rest may hold a secret. "" if it is no URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
