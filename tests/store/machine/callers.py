"""What callers do."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.job import Priority
from shared.store import jobs
from shared.store.files import deleted, keep_thumbnail, touch
from tests.store.machine.base import COSTS, again, pick
from tests.store.machine.checks import misread
from tests.store.machine.door import Terms
from tests.store.machine.moves import PICTURES, Moves
from tests.store.machine.work import CLASSES

questions = st.sampled_from(("a", "a", "b", ""))
people = st.sampled_from(("anne", "anne", "bob", "cem"))
classes = st.sampled_from(CLASSES)
costs = st.sampled_from(COSTS)
widths = st.sampled_from((1, 1, 2, 8))
seconds = st.sampled_from((*[None] * 5, 10, 300, 3000))
hosts = st.sampled_from((None, None, "one.example", "other.example"))
requests = st.fixed_dictionaries(
    {
        "caller": people,
        "priority": classes,
        "cost": costs,
        "rows": widths,
        "blobs": st.sampled_from(((), (), PICTURES[:1], PICTURES[1:])),
    }
)
THUMBNAIL = "f" * 64
SHORT_S, LONG_S = 7018, 15_033
UNSTORED = Terms(unstored=True, retain_s=SHORT_S)
terms = st.sampled_from(
    (
        *[Terms()] * 4,
        Terms(must_be_ready=True),
        Terms(retain_s=SHORT_S),
        Terms(retain_s=LONG_S),
        *[UNSTORED] * 2,
        replace(UNSTORED, idempotency="y", body="one"),
        *[Terms(idempotency="x", body="one")] * 2,
        Terms(idempotency="x", body="other"),
    )
)


class Callers(Moves):
    """The door, a caller's reads, cancel and purge."""

    @rule(question=questions, how=requests, terms=terms, hook=hosts, finish=seconds, again=again)
    def ask(self, question: str, how: Any, terms: Terms, hook: str | None, finish: Any, again: bool) -> None:
        terms = replace(terms, hook=hook, finish_by_ms=self._moment(finish))
        if terms.unstored:
            # It is asked under no key, and tests of its own tell its webhooks.
            terms, how, question = replace(terms, hook=None), {**how, "key": None}, ""
        self.submit(self.placing(question, **how), terms, again=again)

    @rule(
        how=requests,
        hook=hosts,
        finish=seconds,
        stored=st.sampled_from((True, True, False)),
        again=again,
    )
    def ask_with_inputs_to_fetch(
        self, how: Any, hook: str | None, finish: Any, stored: bool, again: bool
    ) -> None:
        terms = Terms(hook=hook) if stored else UNSTORED
        terms = replace(terms, pending=True, finish_by_ms=self._moment(finish))
        self.submit(self.placing(key=None, **how), terms, again=again)

    @rule(one=requests, other=requests, shares=st.sampled_from((True, True, False)))
    def ask_the_same(self, one: Any, other: Any, shares: bool) -> None:
        """And share the answer, where both may."""
        key = {} if shares else {"key": None}
        for how in (one, other):
            self.submit(self.placing("a", **how, **key), Terms())

    @rule(caller=people, priority=classes, cost=costs, finish=seconds)
    def ask_a_lot(self, caller: str, priority: Priority, cost: int, finish: Any) -> None:
        terms = Terms(finish_by_ms=self._moment(finish))
        for _ in range(4):
            self.submit(self.placing(caller=caller, priority=priority, cost=cost), terms)

    def _moment(self, seconds: int | None) -> int | None:
        """Return so many seconds from now in Unix ms."""
        return None if seconds is None else self.model.now + seconds * 1000

    @precondition(lambda self: self.model.jobs)
    @rule(at=pick, again=again)
    def cancel(self, at: int, again: bool) -> None:
        job = self.some(list(self.model.jobs.values()), at)
        self.leave(job, again=again)

    @precondition(lambda self: self.model.jobs)
    @rule(at=pick, meets_an_upload=st.booleans(), again=again)
    def purge(self, at: int, meets_an_upload: bool, again: bool) -> None:
        job = self.some(list(self.model.jobs.values()), at)
        orphans: list[str] = []

        def purge() -> set[str] | None:
            found = self.records.purge(job.id, job.caller)
            orphans.extend(found or ())
            return None if found is None else set(found)

        self.do(purge, lambda: self.model.purge(job), again=again)
        if orphans and meets_an_upload:
            self.upload_meanwhile(orphans)
        self.records.run(deleted(orphans))

    @precondition(lambda self: any(job.unstored for job in self.model.jobs.values()))
    @rule(at=pick, again=again)
    def forget(self, at: int, again: bool) -> None:
        """Behind the answer that told its end, or before that."""
        job = self.some([job for job in self.model.jobs.values() if job.unstored], at)
        orphans: list[str] = []

        def forget() -> set[str] | None:
            found = self.records.run(jobs.purge(self.records.settings, job.caller, job.id, delivered=True))
            orphans.extend(found or ())
            return None if found is None else set(found)

        self.do(forget, lambda: self.model.forget_told(job), again=again)
        self.records.run(deleted(orphans))

    @precondition(lambda self: any(job.run and job.run.blobs for job in self.model.jobs.values()))
    @rule(at=pick, again=again)
    def look_at_a_picture(self, at: int, again: bool) -> None:
        """Its thumbnail goes with it."""
        job = self.some([job for job in self.model.jobs.values() if job.run and job.run.blobs], at)
        assert job.run
        picture, placing = job.run.blobs[0], self.placing(blobs=(THUMBNAIL,))
        self.records.upload(placing)
        self.model.upload(placing)
        self.do(
            lambda: self.records.run(keep_thumbnail(job.caller, job.id, picture, THUMBNAIL, placing.job)),
            lambda: self.model.keep_thumbnail(job, THUMBNAIL, placing.job),
            again=again,
        )

    def upload_meanwhile(self, orphans: list[str]) -> None:
        placing = self.placing(blobs=orphans)
        assert self.records.run(touch(orphans, placing.job)) == orphans, "it has to wait for the deletion"
        self.model.upload(placing)

    @precondition(lambda self: self.model.jobs)
    @rule(at=pick)
    def read(self, at: int) -> None:
        """Its own caller; another one sees nothing of it and can do nothing to it."""
        job = self.some(list(self.model.jobs.values()), at)
        assert misread(self.records, self.model, job) == []
        assert self.records.try_view(job.id, "mallory") is None
        assert self.records.cancel(job.id, "mallory") is None
        assert self.records.purge(job.id, "mallory") is None
