"""Transitions made on the store and on the model alike; what one answers, the other has to say."""

from collections.abc import Callable
from typing import Any, TypeVar

from shared.job import Priority
from shared.result import JobError, Piece, Result
from shared.store import claims
from shared.store.admission import Placing
from shared.store.claims import Again, Claim, Full
from shared.store.keys import INTAKE
from shared.webhooks import EVENTS, Webhook
from tests.store.machine import attempts, door, upkeep
from tests.store.machine.base import SETTINGS
from tests.store.machine.calls import Calls
from tests.store.machine.claiming import expected_claim, is_full
from tests.store.machine.door import Terms
from tests.store.machine.work import Job
from tests.support.store import BROKEN, LANE, OTHER_PRINT, PRINT, answer

T = TypeVar("T")
PICTURES = tuple(c * 64 for c in "def")
PLACES = {"one": PRINT, "two": PRINT, "three": OTHER_PRINT}
"""Of the model's workers, by their fingerprints; the courier has none."""
SLOTS = 3
"""Rows that the claims of one of them may take."""


class Moves(Calls):
    """Rules are made of these."""

    def placing(self, question: str = "", **how: Any) -> Placing:
        """The answer to `a` is everybody's, others are their caller's."""
        shared = {"key": "everybody:a"} if question == "a" else {}
        return self.records.placing(question, **{**shared, **how})

    def submit(self, placing: Placing, terms: Terms, *, again: bool = False) -> None:
        """As the API does: what is missing is uploaded, and the request made once more."""
        posted: dict[str, Any] = {
            "metadata": {"class": placing.priority},
            "pending_terms": "{}" if terms.pending else None,
            "idempotency": terms.idempotency,
            "body_digest": terms.body,
            "must_be_ready": terms.must_be_ready,
            "finish_by_ms": terms.finish_by_ms,
            "stored": not terms.unstored,
            "retain_s": terms.retain_s,
            "webhook": Webhook("https://example.com/", EVENTS, host=terms.hook) if terms.hook else None,
        }

        def post(uploaded: bool) -> str:
            return self.do(
                lambda: self.records.post(placing, uploaded=uploaded, **posted).word,
                lambda: door.submit(self.model, placing, terms, uploaded=uploaded),
                again=again,
            )

        if post(uploaded=False) == "pictures":
            self.upload(placing, again=again)
            post(uploaded=True)

    def upload(self, placing: Placing, *, again: bool = False) -> None:
        self.do(lambda: self.records.upload(placing), lambda: self.model.upload(placing), again=again)

    def claim(self, place: str, *, again: bool = False) -> Claim | None:
        lane, by = (INTAKE, "") if place == "courier" else (LANE, PLACES[place])
        how = {"lane": lane, "worker": self.name(place), "token": self.records.token(), "fingerprint": by}
        got: list[Claim | Again | Full | None] = []

        def take() -> Claim | Again | Full | None:
            intake = place == "courier"
            got.append(self.records.try_claim(**how) if intake else self.records.claim_within(SLOTS, **how))
            return got[-1]

        def expected() -> Claim | Again | Full | None:
            if len(got) > 1:
                return got[0]
            if is_full(self.model, lane, self.name(place), SLOTS):
                return "full"
            waiting = {w.id for w in self.model.waiting(lane)}
            ended = {work for work in waiting if self._ended(work)}
            found = got[0].id if isinstance(got[0], Claim) else None
            again = got[0] == "again"
            claim = expected_claim(self.model, self.ledgers[lane], found, ended, again=again, **how)
            return "again" if again else claim

        claim = self.do(take, expected, again=again)
        if not isinstance(claim, Claim):
            return None
        self.claims.append(claim)
        return claim

    def _ended(self, work: str) -> bool:
        state, status = (self.records.field(work, name) for name in ("state", "status"))
        return state == "over" or (state is None and status is not None)

    def publish(self, claim: Claim, text: str = "a", back: int = 0, *, again: bool = False) -> None:
        run = self.model.runs.get(claim.id)
        start = max(len(run.text) - back, 0) if run else 0
        self.do(
            lambda: self.records.append(claim, start, text),
            lambda: attempts.append(self.model, claim, start, text),
            again=again,
        )

    def end(
        self, claim: Claim, error: JobError | None = None, rest: str = "", *, again: bool = False
    ) -> None:
        """`rest` is text that was not published before."""
        run = self.model.runs.get(claim.id)
        by = (run and run.fingerprint) or PRINT
        pieces = [Piece(len(run.text) if run else 0, rest, (1,))] if rest else []
        outcome: Result | JobError = error or answer(f"By {claim.token}.")
        self.do(
            lambda: self.records.run(claims.settle(SETTINGS, claim, outcome, fingerprint=by, rest=pieces)),
            lambda: attempts.settle(
                self.model, claim, outcome, by, rest, stored=bool(self.records.field(claim.id, "state"))
            ),
            again=again,
        )

    def put_back(
        self, claim: Claim, error: JobError | None = None, *, died: bool = False, again: bool = False
    ) -> None:
        how: dict[str, Any] = {"reason": "worker_draining", "error": error, "died": died}
        self.do(
            lambda: self.records.run(claims.give_back(SETTINGS, claim, **how)),
            lambda: attempts.give_back(self.model, claim, **how),
            again=again,
        )

    def take_in(self, claim: Claim, question: str = "", pictures: int = 0, *, again: bool = False) -> None:
        job, blobs = self.model.jobs.get(claim.id), PICTURES[:pictures]
        priority: Priority = job.priority if job else "normal"
        placing = self.placing(question, job=claim.id, caller=claim.caller, priority=priority, blobs=blobs)
        self.upload(placing, again=again)
        self.do(
            lambda: self.records.admit_placing(claim, placing),
            lambda: door.admit(self.model, placing, claim.token),
            again=again,
        )

    def refuse(self, claim: Claim, *, again: bool = False) -> None:
        self.do(
            lambda: self.records.fail_intake(claim),
            lambda: attempts.fail_intake(self.model, claim, BROKEN),
            again=again,
        )

    def leave(self, job: Job, *, again: bool = False) -> None:
        def cancel() -> str | None:
            view = self.records.cancel(job.id, job.caller)
            return view.status if view else None

        self.do(cancel, lambda: self.model.leave(job, "cancelled"), again=again)

    def keep_leases(self, worker: str, *held: Claim, again: bool = False) -> None:
        """With the claims that a worker knows of."""
        pairs = [(claim.id, claim.token) for claim in held]
        self.do(
            lambda: self.records.run(claims.renew(SETTINGS, worker, pairs)),
            lambda: attempts.renew(self.model, worker, held),
            again=again,
        )

    def all_keep_leases(self, *, again: bool = False) -> None:
        for worker in set(self.names.values()):
            held = {work.id for work in self.model.held(worker)}
            self.keep_leases(worker, *(c for c in self.good() if c.id in held), again=again)

    def maintain(self, *, again: bool = False) -> None:
        """A round of maintenance, as the courier does it."""
        self.do(lambda: sorted(_all(self.records.due)), lambda: upkeep.due(self.model), again=again)
        self.do(lambda: set(self.records.expire()), lambda: upkeep.expire(self.model), again=again)
        self.do(lambda: dict(_all(self.records.rescue)), lambda: upkeep.rescue(self.model), again=again)
        self.do(self.records.fold, lambda: None, again=again)


def _all(step: Callable[[], list[T]]) -> list[T]:
    """Of a step that moves a piece at a time."""
    found = list[T]()
    while more := step():
        found += more
    return found
