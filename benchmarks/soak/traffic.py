"""Callers, a courier and workers on the real scripts, with everything that may happen to a job."""

import itertools
import json
import random
import time
from collections import Counter, deque
from dataclasses import replace
from typing import Any, TypeVar

from shared.job import Times
from shared.result import Choice, JobError, Piece, Result, Usage
from shared.settings import Settings
from shared.store import admission, claims, jobs, workers
from shared.store.admission import JobTerms, Placing, Submitted
from shared.store.claims import Claim
from shared.store.keys import INTAKE
from shared.store.script import ScriptCall, Store

T = TypeVar("T")
MODEL, LANE = "bench/played", "model.bench--played"
PRINT = "0" * 32
CALLERS = tuple(f"caller-{n:02d}" for n in range(40))
"""The last of them submits half of all jobs."""
REMEMBERED = 300
"""Questions that are asked again and jobs that are cancelled or purged come from the newest so many."""
HELD = 12
POISON = "poison"
BROKEN = JobError(code="invalid_image", message="The picture is broken.")
FAILURE = JobError(code="attempts_exhausted", message="It failed.", retryable=True)
ANSWER = Result(
    choices=(Choice(text="A red square.", finish_reason="stop", score=0.5),),
    usage=Usage(prompt_tokens=9, completion_tokens=3, image_tokens=4),
    fingerprint=PRINT,
    compute_s=0.05,
)


class Traffic:
    """`happened` counts what was done and what came of it."""

    def __init__(self, store: Store, settings: Settings, seed: int) -> None:
        self.happened = Counter[str]()
        self._store = store
        self._settings = settings
        self._dice = random.Random(seed)  # noqa: S311
        self._numbers = itertools.count(1)
        self._questions: deque[str] = deque(maxlen=REMEMBERED)
        self._jobs: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        self._held: deque[Claim] = deque()
        self._worker = ""
        self._be_born()

    def submit(self) -> None:
        """One job of some caller: mostly a new question, else one that was asked before."""
        caller = CALLERS[min(self._dice.randrange(2 * len(CALLERS)), len(CALLERS) - 1)]
        placing, terms = self._asked(caller), self._terms()
        submitted = self._run(admission.submit(placing, self._settings, terms))
        if submitted.word == "pictures":
            self._run(admission.touch(submitted.missing, placing.job))
            submitted = self._run(admission.submit(placing, self._settings, terms, uploaded=True))
        if submitted.view:
            self._jobs.append((caller, submitted.view.id))
        self.happened[f"submitted: {_came_of(placing.job, submitted)}"] += 1

    def meddle(self) -> None:
        """Now and then a caller cancels, purges, lists or looks."""
        caller, job = self._dice.choice(self._jobs)
        what = self._dice.choices(("cancel", "purge", "list", "view", ""), (3, 5, 1, 5, 86))[0]
        if what == "cancel":
            self._run(jobs.cancel(self._settings, caller, job))
        elif what == "purge":
            digests = self._run(jobs.purge(self._settings, caller, job))
            if digests:
                self._run(jobs.deleted(digests))
        elif what == "list":
            self._run(jobs.jobs(self._settings, caller, after=None, limit=20))
        elif what == "view":
            self._run(jobs.view(self._settings, caller, job))
        if what:
            self.happened[what] += 1

    def work(self) -> None:
        """The worker claims what it may, and ends the oldest of what it holds."""
        while len(self._held) < HELD:
            claim = self._claim(LANE)
            if claim is None:
                break
            self._held.append(claim)
            if POISON in claim.request or self._dice.random() < 0.001:
                self.happened["died"] += 1
                self._be_born()
                return
        if self._held:
            self._end(self._held.popleft())
        self._take_in()

    def beat(self) -> None:
        facts = {"rows": "4", "slots": str(HELD)}
        said = {"worker": self._worker, "lane": LANE, "fingerprint": PRINT, "facts": facts}
        self._run(workers.beat(self._settings, state="ready", **said))  # type: ignore[arg-type]
        self._run(claims.renew(self._settings, self._worker, [(c.id, c.token) for c in self._held]))

    def _asked(self, caller: str) -> Placing:
        number = next(self._numbers)
        question = f"question {number}"
        if self._questions and self._dice.random() < 0.3:
            # The newest may still wait: the two share a run then.
            question = self._dice.choice((self._questions[-1], self._dice.choice(self._questions)))
        self._questions.append(question)
        pictures = self._dice.choices((0, 1, 2), (70, 25, 5))[0]
        poison = POISON if self._dice.random() < 0.0005 else ""
        return Placing(
            job=f"job_{number:032x}",
            run=f"run_{number:032x}",
            caller=caller,
            model=MODEL,
            lane=LANE,
            priority=self._dice.choice(("interactive", "normal", "batch")),
            hash=question,
            key=f"all:{question}" if self._dice.random() < 0.9 else None,
            blobs=tuple(f"{self._dice.randrange(5000):064x}" for _ in range(pictures)),
            cost=64,
            request=json.dumps({"ask": question, "padding": "x" * 300, "kind": poison}),
        )

    def _terms(self) -> JobTerms:
        now_ms = time.time_ns() // 1_000_000
        dice = self._dice.random()
        terms: dict[str, Any] = {}
        if dice < 0.03:
            terms = {"pending_terms": "{}"}
        elif dice < 0.05:
            terms = {"pending_terms": "{}", "times": Times(schedule_at=now_ms + 1500)}
        elif dice < 0.08:
            terms = {"times": Times(start_by=now_ms + 30, finish_by=now_ms + 2000)}
        if self._dice.random() < 0.2:
            # Some keys come twice.
            terms |= {"idempotency": f"{self._dice.randrange(30):064x}", "body_digest": "d"}
        return JobTerms(metadata={"n": "1"}, **terms)

    def _end(self, claim: Claim) -> None:
        """Ends an attempt, mostly well."""
        how = self._dice.choices(("succeeds", "failed", "again", "drained"), (90, 3, 4, 3))[0]
        if how == "succeeds":
            self._run(claims.append(claim, Piece(claim.published, "A red", (1, 2))))
            self._run(claims.settle(self._settings, claim, ANSWER, fingerprint=PRINT))
        elif how == "failed":
            self._run(claims.settle(self._settings, claim, BROKEN, fingerprint=PRINT))
        else:
            error = FAILURE if how == "again" else None
            self._run(claims.give_back(self._settings, claim, reason=how, error=error))
        self.happened[f"attempt: {how}"] += 1

    def _take_in(self) -> None:
        """The courier's part: fetch, and admit or fail."""
        claim = self._claim(INTAKE)
        if claim is None:
            return
        if self._dice.random() < 0.1:
            self._run(claims.fail_intake(self._settings, claim, BROKEN))
            self.happened["intake: failed"] += 1
        elif self._dice.random() < 0.05:
            self.happened["intake: courier died"] += 1
        else:
            placing = replace(self._asked(claim.caller), job=claim.id)
            self._run(admission.touch(placing.blobs, placing.job))
            self._run(admission.admit(placing, self._settings, token=claim.token))
            self.happened["intake: admitted"] += 1

    def _claim(self, lane: str) -> Claim | None:
        token = f"{next(self._numbers):032x}"
        worker = self._worker if lane == LANE else "courier"
        return self._run(
            claims.claim(self._settings, lane=lane, worker=worker, token=token, fingerprint=PRINT)
        )

    def _be_born(self) -> None:
        """A new worker comes; the former one has vanished with all its claims."""
        self._held.clear()
        self._worker = f"worker_{next(self._numbers)}"
        self.beat()

    def _run(self, call: ScriptCall[T]) -> T:
        return self._store.run(call)


def _came_of(job: str, submitted: Submitted) -> str:
    if submitted.view is None or submitted.view.id != job:
        return submitted.word
    return (submitted.view.cache or submitted.word).lower()
