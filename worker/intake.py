"""Fetching the remote pictures of a job, and admitting it when they are here.

The same claim, lease and rescue as a run's attempt; the work is a job that has no run yet.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shared import ids
from shared.blobs import Blobs, digest
from shared.errors import CallerError, Unavailable
from shared.hashing import request_hash
from shared.models import Models
from shared.pictures import check_request, inspect
from shared.request import Image, Request
from shared.result import JobError
from shared.settings import Settings
from shared.store.admission import DELETION_POLL_S, Placing, admit, touch
from shared.store.claims import Claim, claim, fail_intake, give_back
from shared.store.keys import INTAKE
from shared.store.nudges import Nudger
from shared.store.script import Store
from worker.fetch import fetch
from worker.lease import Lease, Leases, insist

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Intake:
    """What the fetching of inputs works with."""

    settings: Settings
    models: Models
    store: Store
    nudger: Nudger
    blobs: Blobs
    leases: Leases
    worker: str

    def work(self) -> None:
        """Answer one nudge: claim a job that waits for its inputs, fetch them, admit it."""
        taken = self.store.run(
            claim(self.settings, lane=INTAKE, worker=self.worker, token=ids.token(), fingerprint="")
        )
        if taken is None:
            return
        with self.leases.hold(taken) as lease:
            self._take_in(lease)

    def _take_in(self, lease: Lease) -> None:
        claimed = lease.claim
        try:
            placing = self._placing(claimed, self._fetched(claimed))
        except CallerError as error:
            failure = JobError(code=error.code, message=error.message, param=error.param)
            insist(self.store.run, fail_intake(self.settings, claimed, failure), lease)
        except Unavailable as error:
            self._give_back(lease, error.code, None)
        except Exception:
            # The outermost frame of an intake: our own failure is counted and tried again.
            log.exception("job %s: its inputs could not be taken in", claimed.id)
            message = "The job's inputs could not be taken in."
            self._give_back(
                lease, "attempt_failed", JobError(code="internal_error", message=message, retryable=True)
            )
        else:
            if insist(self.store.run, admit(placing, self.settings, token=claimed.token), lease) == "queued":
                self.nudger.send(placing.lane)

    def _give_back(self, lease: Lease, reason: str, error: JobError | None) -> None:
        if insist(self.store.run, give_back(self.settings, lease.claim, reason=reason, error=error), lease):
            self.nudger.send(INTAKE)

    def _fetched(self, claimed: Claim) -> Request:
        request = Request.model_validate_json(claimed.request)
        limits = self.settings.pictures
        data: dict[str, bytes] = {}
        infos = []
        for place, image in enumerate(request.images):
            if image.url and image.url not in data:
                param = f"images[{place}]"
                body = fetch(image.url, self.settings.fetch, int(limits.max_mb * 2**20), param)
                infos.append(inspect(body, limits, param))
                data[image.url] = body
        check_request(infos, limits)
        names = {url: digest(body) for url, body in data.items()}
        self._store_pictures(claimed.id, names, data)
        return request.with_images(tuple(_held(image, names) for image in request.images))

    def _store_pictures(self, job: str, names: dict[str, str], data: dict[str, bytes]) -> None:
        while self.store.run(touch(tuple(names.values()), job)):
            time.sleep(DELETION_POLL_S)
        for url, name in names.items():
            self.blobs.write(name, data[url])

    def _placing(self, claimed: Claim, request: Request) -> Placing:
        model = self.models.resolve(request.model)
        hashed = request_hash(request, model.revision)
        terms = json.loads(claimed.terms)
        return Placing(
            job=claimed.id,
            run=ids.run_id(),
            caller=claimed.caller,
            model=model.id,
            lane=model.lane,
            priority=terms["priority"],
            hash=hashed,
            key=f"{claimed.caller}:{hashed}" if terms["reuse"] else None,
            blobs=_digests(request.images),
            request=request.model_dump_json(exclude_none=True),
        )


def _held(image: Image, names: dict[str, str]) -> Image:
    return Image(digest=names[image.url]) if image.url else image


def _digests(images: Sequence[Image]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(i.digest for i in images if i.digest))
