"""What the records should say, in plain Python: who waits where, who holds what, what has ended how.

It says nothing of who is next: that is left open, and held against the rules of the line (turns.py).
"""

from collections.abc import Iterator
from typing import Any

from shared.result import JobError
from shared.settings import Settings
from shared.store.admission import Placing
from shared.store.constants import GAP_ROUNDS, GRACE_ROUNDS, LATE, REMOVED, expired
from shared.store.files import HOLD_S
from tests.store.machine.telling import Book
from tests.store.machine.work import Job, Work

LAST_PRINT_MS = 86_400_000
BEATS_MS = 86_400_000
"""So long after the last beat of all it is still known who was alive then."""


class Model:
    """The state, and the few moves that the transitions share."""

    def __init__(self, settings: Settings, now: int) -> None:
        self.settings = settings
        self.now = now
        self.jobs: dict[str, Job] = {}
        self.runs: dict[str, Work] = {}
        self.entries: dict[tuple[str, str], Work] = {}
        self.named: dict[tuple[str, str], tuple[str, str, int]] = {}
        self.uploads: dict[tuple[str, str], int] = {}
        self.prints: dict[str, int] = {}
        self.ready: dict[str, int] = {}
        self.loading: dict[str, int] = {}
        self.cold: dict[str, int] = {}
        self.beaten = {"ready": 0, "loading": 0, "cold": 0}
        self.paused = self.draining = self.removed = False
        self.generation = 0
        self.told: dict[str, set[str]] = {}
        self.settled: set[str] = set()
        self.watched: int | None = None
        self.spared = 0
        self.gap = (0, 0)
        self.emptying: dict[str, tuple[str, int]] = {}
        self.book = Book(settings, now)
        self._arrivals = 0

    @property
    def result_ms(self) -> int:
        return round(self.settings.retention.result_s * 1000)

    @property
    def fresh(self) -> int:
        """Answers of workers heard of since then count."""
        return self.now - round(self.settings.queue.worker_ttl_s * 1000)

    @property
    def alive_since(self) -> int:
        """Workers heard of since then live."""
        from_, till = self.gap
        return self.fresh - (self.now - from_ if self.now < till else 0)

    def notice_gap(self) -> bool:
        """Whether nobody could write for long; right behind that workers count as they did before."""
        queue = self.settings.queue
        if self.watched is None or self.now - self.watched <= (GAP_ROUNDS * queue.rescue_s + 1) * 1000:
            return False
        if self.gap[0] != self.watched:
            self.gap = (self.watched, self.now + round(GRACE_ROUNDS * queue.renew_s * 1000) // 2)
        return True

    @property
    def lease_ms(self) -> int:
        return round(self.settings.queue.lease_s * 1000)

    def forget(self) -> None:
        """What was kept for a time is gone after it."""
        self.book.now = self.now
        self.book.forget()
        job_ms = self.settings.retention.job_s * 1000
        self.jobs = {i: j for i, j in self.jobs.items() if self._kept(j, job_ms)}
        self.runs = {i: r for i, r in self.runs.items() if not r.over or r.kept > self.now}
        self.entries = {k: r for k, r in self.entries.items() if r.kept > self.now}
        self.named = {k: n for k, n in self.named.items() if n[2] > self.now}
        self.uploads = {k: till for k, till in self.uploads.items() if till > self.now}
        self.emptying = {k: e for k, e in self.emptying.items() if e[1] > self.now}
        for known, word in ((self.ready, "ready"), (self.loading, "loading"), (self.cold, "cold")):
            if self.beaten[word] + BEATS_MS <= self.now:
                known.clear()

    def _kept(self, job: Job, job_ms: int) -> bool:
        kept_ms = max(job_ms, self.hook_ms) if job.hook else job_ms
        kept_ms = kept_ms if job.retain_ms is None else job.retain_ms
        return not job.status or job.kept_from + kept_ms > self.now

    def retention_ms(self, of: Work | Job) -> int:
        """How long an answer is kept after its end."""
        return self.result_ms if of.retain_ms is None else of.retain_ms

    @property
    def hook_ms(self) -> int:
        return self.settings.webhook.life_s * 1000

    def needed_ms(self, job: Job) -> int:
        """For how long from its end its webhook reads its answer."""
        if not job.hook:
            return 0
        return self.hook_ms if job.retain_ms is None else min(job.retain_ms, self.hook_ms)

    def announce(self, job: Job, kind: str) -> None:
        if job.hook and job.id not in self.book.gone:
            self.book.put(f"{job.id}:{kind}", job.hook)

    def all_work(self) -> Iterator[Work]:
        yield from (run for run in self.runs.values() if not run.over)
        yield from (job.intake for job in self.jobs.values() if job.intake)

    def waiting(self, lane: str) -> list[Work]:
        """In the order in which it came."""
        return sorted(
            (w for w in self.all_work() if w.lane == lane and w.state == "queued"), key=lambda w: w.arrival
        )

    def fetches(self, caller: str) -> int:
        """Of a caller, under way."""
        return sum(1 for w in self.all_work() if not w.is_run and w.caller == caller and w.state == "running")

    def held(self, worker: str) -> list[Work]:
        return [w for w in self.all_work() if w.worker == worker]

    def find(self, claim_id: str) -> Work | None:
        job = self.jobs.get(claim_id)
        return self.runs.get(claim_id) or (job.intake if job else None)

    def holder_of(self, claim_id: str, token: str) -> Work | None:
        """The work, where the claim is still good."""
        work = self.find(claim_id)
        return work if work and not work.over and work.token == token else None

    def live_prints(self) -> list[str]:
        known = sorted(self.prints, key=lambda p: (self.prints[p], p))
        live = [p for p in known if self.prints[p] >= self.fresh]
        return live or [p for p in known if self.prints[p] >= self.now - LAST_PRINT_MS][-1:]

    def entry(self, key: str, fingerprint: str) -> Work | None:
        run = self.entries.get((key, fingerprint))
        return run if run and run.id in self.runs else None

    def upload(self, placing: Placing) -> None:
        for digest in placing.blobs:
            self.uploads[digest, placing.job] = self.now + HOLD_S * 1000

    def drop_uploads(self, job: str, blobs: tuple[str, ...]) -> None:
        for digest in blobs:
            self.uploads.pop((digest, job), None)

    def keep_thumbnail(self, job: Job, thumbnail: str, upload: str) -> bool:
        """Whether a run holds it with its picture."""
        self.drop_uploads(upload, (thumbnail,))
        run = job.run
        if job.id not in self.jobs or run is None or (run.over and run.kept <= self.now):
            return False
        run.blobs = tuple(dict.fromkeys((*run.blobs, thumbnail)))
        return True

    def holds(self) -> dict[str, set[str]]:
        """Who holds each picture now."""
        found: dict[str, set[str]] = {}
        for work in (*self.all_work(), *(r for r in self.runs.values() if r.over)):
            if not work.over or work.kept > self.now:
                for digest in work.blobs:
                    found.setdefault(digest, set()).add(work.id)
        for job in self.jobs.values():
            if job.status and job.run is None and job.ended + self.retention_ms(job) > self.now:
                for digest in job.blobs:
                    found.setdefault(digest, set()).add(job.id)
        for digest, uploader in self.uploads:
            found.setdefault(digest, set()).add(f"upload:{uploader}")
        return found

    def enqueue(self, work: Work) -> None:
        self._arrivals += 1
        work.state, work.queued_at, work.arrival = "queued", self.now, self._arrivals

    def leave_lease(self, work: Work, reason: str) -> None:
        work.token = work.worker = ""
        work.company = False
        work.close_attempt(reason, self.now)
        work.tell("requeued", reason=reason)

    def ended_with_model(self, work: Work, reason: str) -> bool:
        """What comes back after its model was removed ends."""
        if work.generation < self.generation:
            work.close_attempt(reason, self.now)
            self.fail(work, REMOVED)
            return True
        return False

    def requeue(self, work: Work, reason: str) -> str:
        """The lane to nudge, "" where it ended."""
        if self.ended_with_model(work, reason):
            return ""
        self.leave_lease(work, reason)
        work.state, work.queued_at = "queued", self.now
        return work.lane

    def end_job(self, job: Job, status: str, last: int, error: JobError | None, *, own: bool) -> None:
        job.status, job.ended, job.last, job.error, job.own = status, self.now, last, error, own
        job.kept_from = self.now
        if job.unstored and (job.caller, job.idempotency) in self.named:
            body, id, till = self.named[job.caller, job.idempotency or ""]
            self.named[job.caller, job.idempotency or ""] = (
                body,
                id,
                min(till, self.now + (job.retain_ms or 0)),
            )
        self.announce(job, "ended")

    def end_run(self, run: Work, status: str, error: JobError | None = None) -> None:
        run.token = run.worker = ""
        run.state, run.ended, run.kept = status, self.now, self.now + self.retention_ms(run)
        run.needed = max(run.kept, self.now + run.needed_ms)
        run.close_attempt(status, self.now)
        run.tell(status, **(error.model_dump() if error else {}))
        for job in run.live:
            self.end_job(job, status, len(run.events), error, own=False)
        run.live = []

    def _end_intake(self, job: Job, status: str, error: JobError | None) -> None:
        assert job.intake is not None
        job.intake.close_attempt(status, self.now)
        job.fetches, job.intake = job.intake.attempts, None
        self.end_job(job, status, 0, error, own=True)

    def fail(self, work: Work, error: JobError) -> None:
        if work.is_run:
            self.end_run(work, "failed", error)
            return
        self._end_intake(self.jobs[work.id], "failed", error)

    def leave(self, job: Job, status: str, error: JobError | None = None) -> str:
        """A job ends by itself; the last one to leave a run ends it. Answers how it ended."""
        if job.status:
            return job.status
        if job.run is None:
            self._end_intake(job, status, error)
            return status
        self.end_job(job, status, len(job.run.events), error, own=True)
        job.run.live.remove(job)
        if not job.run.live:
            self.end_run(job.run, "cancelled")
        return status

    def purge(self, job: Job) -> set[str] | None:
        """The pictures that nobody holds any more; said again to who asks again."""
        if job.id in self.jobs:
            self.told[job.id] = self._purge(job)
        return self.told.get(job.id)

    def forget_told(self, job: Job) -> set[str] | None:
        """What is not to be stored, once its caller was told how it ended."""
        if job.id in self.jobs and not (job.unstored and job.status):
            return None
        return self.purge(job)

    def _purge(self, job: Job) -> set[str]:
        self.leave(job, "cancelled")
        if job.unstored:
            self.named.pop((job.caller, job.idempotency or ""), None)
        self.book.drop(job.id)
        if job.id in self.book.failed.get(job.caller, {}):
            self.book.note_failure(job.caller, job.id, failed=False)
        del self.jobs[job.id]
        names = job.blobs
        if job.run is not None:
            job.run.holders &= self.jobs.keys()
            if job.run.holders:
                return set()
            self.runs.pop(job.run.id, None)
            # The leader's record outlives its answer.
            stored, job.run.needed = job.run.id == job.id or job.run.needed > self.now, 0
            if not stored:
                return set()
            self.entries = {k: r for k, r in self.entries.items() if r is not job.run}
            names = job.run.blobs
        return set(names) - self.holds().keys()

    def leave_late(self, work: Work) -> bool:
        """Fail the jobs whose finish_by has passed; return whether anybody is left."""
        for job in list(work.live):
            if job.finish_by is not None and self.now >= job.finish_by:
                self.fail_late(job)
        return not work.over and not any(job.status for job in work.live)

    def is_late(self, job: Job) -> bool:
        """Return whether its finish_by has passed, or it stayed in line for too long without one."""
        work = job.work
        assert work is not None
        if job.finish_by is not None:
            return self.now >= job.finish_by
        since = max(work.queued_at, job.joined_at)
        return work.state == "queued" and self.now >= since + round(self.settings.queue.expire_s * 1000)

    def fail_late(self, job: Job) -> None:
        error = LATE if job.finish_by is not None else expired(self.settings.queue.expire_s)
        self.leave(job, "failed", error)

    def story(self, job: Job) -> list[tuple[int, str, dict[str, Any]]]:
        """The events its caller reads: number, kind, what is said."""
        kept = job.run if job.run and job.run.id in self.runs else None
        events = kept.events[: job.last] if kept and job.status else kept.events if kept else []
        told = [(at, kind, data) for at, (kind, data) in enumerate(events, 1) if kind != "unsaid"]
        if job.status and (job.own or not told):
            error = job.error.model_dump() if job.error else {}
            told.append((job.last + job.own, job.status, error))
        return told
