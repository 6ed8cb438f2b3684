"""What every rule starts from: the store, the model beside it, and a reply that may get lost."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from shared.settings import QueueSettings, RetentionSettings, Settings, WebhookSettings
from shared.store.claims import Claim
from shared.store.keys import INTAKE
from tests.store.machine import upkeep
from tests.store.machine.checks import LASTING, differences, lasting, misread
from tests.store.machine.ear import Ear
from tests.store.machine.model import Model
from tests.store.machine.turns import Ledger
from tests.support.clock import Clock
from tests.support.invariants import Watch
from tests.support.store import LANE, Records

T = TypeVar("T")
COSTS = (1, 5, 20)
LONGEST_MS, FOR_EVER_MS = 2 * 86_400_000, 60 * 86_400_000
"""All records of what has ended are gone; and the lists in which they stood."""

# Long lives, so that what really passes is little. Time goes on in steps, and what the server itself forgets
# lives for no multiple of one: a key is gone or there, and never about to go.
STEP_S = 35
SETTINGS = Settings(
    queue=QueueSettings(
        lease_s=1000,
        renew_s=100,
        rescue_s=100,
        worker_ttl_s=1487,
        max_failures=3,
        backoff_s=20,
        max_deaths=3,
        max_queued=24,
        max_queued_caller=10,
        expire_s=20_000,
    ),
    retention=RetentionSettings(result_s=10_028, job_s=50_068, idempotency_s=30_048),
    webhook=WebhookSettings(delays_s=(10,), host_calls=2),
)

# Shrinks to "the newest".
pick = st.integers(0, 40)
again = st.sampled_from((False, False, False, True))


class Base(RuleBasedStateMachine):
    """`claims` are all there were, good or not; `names` are those of workers, by place."""

    def __init__(self, records: Records) -> None:
        super().__init__()
        records.settings = SETTINGS
        self.records = records
        self.model = Model(SETTINGS, records.now)
        self.clock = Clock(records)
        self.watch = Watch()
        self.ledgers = {LANE: Ledger(LANE, max(COSTS)), INTAKE: Ledger(INTAKE, 1)}
        self.claims: list[Claim] = []
        self.names: dict[str, str] = {}
        self._sound = True
        self._ear = Ear(records.client)

    def compare(self) -> None:
        different = differences(self.records, self.model, self.watch)
        assert not different, "\n".join(different)

    def do(self, transition: Callable[[], T], expected: Callable[[], T], *, again: bool = False) -> T:
        """One transition on the store and on the model, at a time of its own.

        `again` = its reply was lost, and it is made once more; what says so itself would go on.
        """
        self._sound = False
        self.advance(1)
        self._ear.woken()
        stories = self._stories()
        reply = transition()
        self.records.finish()
        self._same(reply, expected())
        self._are_woken(stories)
        for ledger in self.ledgers.values():
            ledger.look(self.model)
        if again and reply != "again":
            before = self._kept()
            self._same(transition(), expected())
            after = self._kept()
            changed = [
                f"once more {key} turns from {before.get(key)} to {after.get(key)}"
                for key in after.keys() | before.keys()
                if after.get(key) != before.get(key)
            ]
            assert not changed, "\n".join(changed)
        return reply

    def _stories(self) -> dict[str, tuple[str, list[Any]]]:
        """What who reads a job has read, and whether it listens to the job or its run."""
        return {id: ((job.run or job).id, self.model.story(job)) for id, job in self.model.jobs.items()}

    def _are_woken(self, before: dict[str, tuple[str, list[Any]]]) -> None:
        told = {
            source
            for id, (source, story) in before.items()
            if id in self.model.jobs and self.model.story(self.model.jobs[id]) != story
        }
        deaf = told - self._ear.woken()
        assert not deaf, f"who reads {deaf} is not woken"

    def _kept(self) -> dict[str, Any]:
        """Without the holds of pictures that have run out: they go at any moment."""
        dump = self.records.dump()
        holds = {
            key: [hold for hold in dump[key] if hold[1] > self.model.now]
            for key in dump
            if key.startswith("sl9:blob:")
        }
        return {key: holds.get(key, said) for key, said in dump.items() if holds.get(key, said)}

    def _same(self, reply: object, expected: object) -> None:
        assert reply == expected, f"the store says {reply}, the model {expected}"

    def advance(self, ms: int) -> None:
        self.clock.advance(ms)
        self.model.now = self.records.now
        self.model.forget()

    def some(self, things: Sequence[T], at: int) -> T:
        """The newest for 0."""
        return things[-1 - at % len(things)]

    def good(self, *, runs: bool | None = None) -> list[Claim]:
        """The claims that still count; those of inputs are no `runs`."""
        held = ((claim, self.model.holder_of(claim.id, claim.token)) for claim in self.claims)
        return [claim for claim, work in held if work and runs in (None, work.is_run)]

    def stale(self) -> list[Claim]:
        """The newest of those that do not."""
        return [c for c in self.claims[-12:] if not self.model.holder_of(c.id, c.token)]

    def name(self, place: str) -> str:
        return self.names.setdefault(place, f"{place}-1")

    @invariant()
    def turns_are_fair(self) -> None:
        unfair = [line for ledger in self.ledgers.values() for line in ledger.unfair(self.model)]
        assert not unfair, unfair
        self._sound = True

    def hang_up(self) -> None:
        """Whatever webhooks are still to be told is told."""

    def teardown(self) -> None:
        with closing(self._ear):
            if self._sound:
                self._end_all()

    def _end_all(self) -> None:
        """Everything ends, is told, and then forgotten."""
        self.records.pause(paused=False)
        upkeep.pause(self.model, paused=False)
        for job in self.model.jobs.values():
            self.advance(1)
            self.records.cancel(job.id, job.caller)
            self.model.leave(job, "cancelled")
        self.hang_up()
        self.compare()
        wrong = [line for job in self.model.jobs.values() for line in misread(self.records, self.model, job)]
        assert self.records.sweep() == 0
        self.advance(LONGEST_MS)
        self.records.fold()
        wrong += lasting(self.records)
        assert not wrong, "\n".join(wrong)
        self.advance(FOR_EVER_MS)
        left = {key for key in self.records.key_names() if not LASTING.match(key)}
        assert left == set(), "something outlives everything"
