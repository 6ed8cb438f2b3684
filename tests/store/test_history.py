"""Any history of callers, workers and deaths keeps the records whole: seeded walks over every transition."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from shared.result import JobError
from shared.store.claims import Claim
from shared.store.keys import INTAKE
from tests.support.invariants import Watch
from tests.support.store import BROKEN, FAILURE, OTHER_PRINT, PRINT, Records, answer

STEPS, LOOK_EVERY = 300, 10
PICTURES = tuple(c * 64 for c in "def")


@dataclass
class Walk:
    """One history; `jobs` maps ids to callers, `claims` holds good claims and stale ones."""

    records: Records
    dice: random.Random
    jobs: dict[str, str] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    said: dict[str, int] = field(default_factory=dict)

    def step(self) -> str:
        """One move, now and then twice: a reply was lost."""
        move: Callable[[], Callable[[], Any] | None] = self.dice.choices(
            list(MOVES), weights=list(MOVES.values())
        )[0].__get__(self)
        call = move()
        self.records.now += 1
        if call is not None:
            reply = call()
            if self.dice.random() < 0.15:
                before = self.records.dump()
                call()
                assert self.records.dump() == before, f"repeated {move.__name__} ({reply}) changed something"
        return move.__name__

    def submit(self) -> Callable[[], Any]:
        asked = self.dice.choice(("", "a", "b", "c"))
        caller = self.dice.choice(("anyone", "someone"))
        placing = self.records.placing(
            asked,
            caller=caller,
            priority=self.dice.choice(("interactive", "normal", "batch")),
            blobs=tuple(p for p in PICTURES if self.dice.random() < 0.3),
        )
        self.records.upload(placing)
        if self.dice.random() < 0.25:
            placing, terms = replace(placing, key=None), {"pending_terms": "{}"}
        else:
            terms = {}
        self.jobs[placing.job] = caller
        return lambda: self.records.post(placing, uploaded=True, **terms)

    def claim(self) -> None:
        lane = {"lane": INTAKE, "fingerprint": ""} if self.dice.random() < 0.3 else {}
        if not lane:
            lane = {"fingerprint": self.dice.choice((PRINT, PRINT, PRINT, OTHER_PRINT))}
        token = self.records.token()
        claim = self.records.try_claim(token=token, **lane)
        if claim:
            before = self.records.dump()
            assert self.records.try_claim(token=token, **lane) == claim
            assert self.records.dump() == before
            self.claims.append(claim)
            self.said[claim.token] = claim.published

    def _claim_of(self, prefix: str) -> Claim | None:
        fitting = [c for c in self.claims[-12:] if c.id.startswith(prefix)]
        return self.dice.choice(fitting) if fitting else None

    def append(self) -> Callable[[], Any] | None:
        claim = self._claim_of("run_")
        if claim is None:
            return None
        text = self.dice.choice(("a", "bc", "🖼é"))
        start = self.said[claim.token]

        def publish() -> str:
            held = self.records.append(claim, start, text)
            if held == "ok":
                self.said[claim.token] = start + len(text)
            return held

        return publish

    def settle(self) -> Callable[[], Any] | None:
        claim = self._claim_of("run_")
        outcome = self.dice.choice((answer(), answer(), BROKEN))
        return (lambda: self.records.settle(claim, outcome)) if claim else None

    def give_back(self) -> Callable[[], Any] | None:
        claim = self._claim_of("")
        error: JobError | None = self.dice.choice((None, FAILURE))
        return (lambda: self.records.give_back(claim, error)) if claim else None

    def admit(self) -> Callable[[], Any] | None:
        claim = self._claim_of("job_")
        if claim is None:
            return None
        blobs = PICTURES[: self.dice.randrange(3)]
        self.records.upload(self.records.placing(job=claim.id, blobs=blobs))
        question = self.dice.choice(("", "a", "b"))
        placing = self.records.placing(question, job=claim.id, caller=claim.caller, blobs=blobs)
        return lambda: self.records.admit_placing(claim, placing)

    def fail_intake(self) -> Callable[[], Any] | None:
        claim = self._claim_of("job_")
        return (lambda: self.records.fail_intake(claim)) if claim else None

    def renew(self) -> Callable[[], Any]:
        held = self.claims[-3:]
        return lambda: self.records.renew(*held)

    def rescue(self) -> Callable[[], Any]:
        self.records.wait(self.dice.choice((2, 6, 11)))
        return self.records.rescue

    def beat(self) -> Callable[[], Any]:
        fingerprint = self.dice.choice((PRINT, OTHER_PRINT))
        return lambda: self.records.beat(fingerprint=fingerprint)

    def cancel(self) -> Callable[[], Any] | None:
        if not self.jobs:
            return None
        job, caller = self.dice.choice(list(self.jobs.items()))
        return lambda: self.records.cancel(job, caller)

    def purge(self) -> Callable[[], Any] | None:
        if not self.jobs:
            return None
        job, caller = self.dice.choice(list(self.jobs.items()))
        return lambda: self.records.purge(job, caller)


MOVES: dict[Any, int] = {
    Walk.submit: 10,
    Walk.claim: 10,
    Walk.append: 12,
    Walk.settle: 4,
    Walk.give_back: 3,
    Walk.admit: 3,
    Walk.fail_intake: 1,
    Walk.renew: 3,
    Walk.rescue: 3,
    Walk.beat: 2,
    Walk.cancel: 4,
    Walk.purge: 3,
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_history_breaks_the_records(records: Records, seed: int) -> None:
    walk, watch = Walk(records, random.Random(seed)), Watch(records)  # noqa: S311
    moves = []
    for number in range(STEPS):
        moves.append(walk.step())
        if number % LOOK_EVERY == 0:
            broken = watch.broken()
            assert broken == [], f"after {moves}"
            assert records.audit() == {}, f"after {moves}"
    for job, caller in walk.jobs.items():
        records.cancel(job, caller)
    assert watch.broken() == []
    lasting = {key for key in records.key_names() if records.client.ttl(key) == -1}
    assert lasting <= {"sl1:arrivals", "sl1:lanes", f"sl1:lane:{records.placing().lane}"}
