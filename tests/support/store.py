"""The record store in a test's hands: a clock the test turns, and one short verb per transition."""

import itertools
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from shared.fleet import Fleet
from shared.job import Delivery, Event, Filter, JobView, Page
from shared.result import Choice, JobError, Piece, Result, Usage
from shared.settings import QueueSettings, RetentionSettings, Settings
from shared.store import (
    admission,
    claims,
    files,
    headroom,
    jobs,
    maintenance,
    models,
    webhooks,
    workers,
)
from shared.store.admission import JobTerms, Placing, Submitted
from shared.store.claims import Again, Claim, Full
from shared.store.keys import INTAKE
from shared.store.script import ScriptCall, Store, WritesRefused
from shared.store.views import LANE_FACTS, WAITING, EventPage
from tests.support.stored import change, fields_of, unpacked

T = TypeVar("T")
READS: dict[str, Callable[[Any, str], Any]] = {
    "string": lambda client, key: client.get(key),
    "hash": lambda client, key: client.hgetall(key),
    "list": lambda client, key: client.lrange(key, 0, -1),
    "set": lambda client, key: client.smembers(key),
    "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
    "stream": lambda client, key: client.xrange(key),
}
START_MS = 1_760_000_000_000
MODEL, LANE = "org/model", "model.org--model"
PRINT, OTHER_PRINT = "a" * 32, "b" * 32
BROKEN = JobError(code="invalid_image", message="The picture is broken.", param="images[0]")
FAILURE = JobError(code="attempts_exhausted", message="It failed three times.", retryable=True)
SETTINGS = Settings(
    queue=QueueSettings(
        lease_s=10, worker_ttl_s=15, max_failures=3, backoff_s=0, max_deaths=3, max_queued=1000
    ),
    retention=RetentionSettings(result_s=100, job_s=1000, idempotency_s=300),
)


def answer(text: str = "A red square.") -> Result:
    return Result(
        choices=(Choice(text=text, finish_reason="stop", score=0.5),),
        usage=Usage(prompt_tokens=9, completion_tokens=3, image_tokens=4),
        fingerprint=PRINT,
        compute_s=0.25,
    )


def next_call(
    run: Callable[[ScriptCall[Any]], Any], settings: Settings, token: str
) -> webhooks.DueCall | None:
    """The webhook call that a courier gets next."""
    while (due := run(webhooks.claim(settings, token))) == "again":
        pass
    return due  # type: ignore[no-any-return]


class Records:
    """What callers, workers and maintenance do, at the time `now`."""

    def __init__(self, store: Store, settings: Settings = SETTINGS) -> None:
        self.store = store
        self.client: Any = store.client
        self.settings = settings
        self.now = START_MS
        self._numbers = itertools.count(1)
        self._made = time.monotonic()

    def set_queue(self, **changes: Any) -> None:
        queue = self.settings.queue.model_copy(update=changes)
        self.settings = self.settings.model_copy(update={"queue": queue})

    def run(self, call: ScriptCall[T]) -> T:
        return self.store.run(replace(call, arguments={**call.arguments, "now": self.now}))

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1000)

    def given(self, seconds: float) -> Any:
        """What may be left of such a time to live: the server subtracts the time that really passed."""
        passed = time.monotonic() - self._made + 1
        return pytest.approx(seconds - passed / 2, abs=passed / 2 + 0.001)

    def token(self) -> str:
        return f"{next(self._numbers):032x}"

    def placing(self, question: str = "", **changes: Any) -> Placing:
        """A request; requests with the same question are identical, one without a question is unique."""
        number = next(self._numbers)
        hashed = question or f"only-{number}"
        plain = Placing(
            job=f"job_{number:032x}",
            caller="anyone",
            model=MODEL,
            lane=LANE,
            priority="normal",
            hash=hashed,
            key=None,
            blobs=(),
            cost=1,
            request=f'{{"ask":"{hashed}"}}',
        )
        placing = replace(plain, **changes)
        return placing if "key" in changes else replace(placing, key=f"{placing.caller}:{hashed}")

    def post(self, placing: Placing, **said: Any) -> Submitted:
        """`said` are the job's terms, which pictures are `sent`, and whether they are `uploaded`."""
        how = {name: said.pop(name) for name in ("sent", "uploaded") if name in said}
        return self.run(admission.submit(placing, self.settings, JobTerms(**said), **how))

    def submit(self, question: str = "", **changes: Any) -> JobView:
        return self.accept(self.placing(question, **changes))

    def started(self, question: str = "", **changes: Any) -> tuple[str, Claim]:
        """A job, and the claim of what waits first."""
        return self.submit(question, **changes).id, self.claim()

    def answered(self, question: str = "", outcome: Result | JobError | None = None) -> JobView:
        """A job; what waited first has ended."""
        view = self.submit(question)
        self.settle(self.claim(), outcome)
        return view

    def submit_pending(self, **changes: Any) -> JobView:
        """A job whose pictures are still to be fetched."""
        return self.accept(self.placing(key=None, **changes), pending_terms='{"reuse":true}')

    def accept(self, placing: Placing, **terms: Any) -> JobView:
        """Post, its pictures uploaded where they are missing, and expect a job."""
        submitted = self.post(placing, **terms)
        if submitted.word == "pictures":
            self.upload(replace(placing, blobs=submitted.missing))
            submitted = self.post(placing, uploaded=True, **terms)
        assert submitted.view is not None
        return submitted.view

    def upload(self, placing: Placing) -> None:
        self.run(files.touch(tuple(placing.blobs), placing.job))

    def claim(self, **how: Any) -> Claim:
        """Claim and expect work."""
        claim = self.try_claim(**how)
        assert claim is not None
        return claim

    def try_claim(self, **how: Any) -> Claim | None:
        """Claim, asking again where the store says so, as workers do."""
        return claims.take(self.run, self.claiming(**how))

    def claim_within(self, slots: int, **how: Any) -> Claim | Again | Full | None:
        """Claim as a model worker whose claims may take `slots` rows."""
        return self.run(claims.within(slots, self.claiming(**how)))

    def claiming(self, **how: Any) -> ScriptCall[Claim | None]:
        said = {"lane": LANE, "worker": "worker_01", "token": self.token(), "fingerprint": PRINT, **how}
        return claims.claim(self.settings, **said)

    def claim_pending(self) -> Claim:
        return self.claim(lane=INTAKE, fingerprint="")

    def admit(self, claim: Claim, question: str = "", **changes: Any) -> str:
        return self.admit_placing(claim, self.placing(question, job=claim.id, **changes))

    def admit_placing(self, claim: Claim, placing: Placing) -> str:
        return self.run(admission.admit(placing, self.settings, token=claim.token))

    def append(self, claim: Claim, start: int, text: str, ids: Sequence[int] = (1,)) -> str:
        return self.run(claims.append(claim, Piece(start, text, tuple(ids))))

    def settle(
        self, claim: Claim, outcome: Result | JobError | None = None, *, fingerprint: str = PRINT
    ) -> str:
        return self.run(claims.settle(self.settings, claim, outcome or answer(), fingerprint=fingerprint))

    def fail_intake(self, claim: Claim, error: JobError = BROKEN) -> str:
        return self.run(claims.settle(self.settings, claim, error))

    def give_back(
        self,
        claim: Claim,
        error: JobError | None = None,
        *,
        reason: str = "worker_draining",
        **terms: Any,
    ) -> str | None:
        return self.run(claims.give_back(self.settings, claim, reason=reason, error=error, **terms))

    def renew(self, *held: Claim) -> list[str]:
        return self.run(claims.renew(self.settings, "worker_01", [(c.id, c.token) for c in held]))

    def rescue(self) -> list[tuple[str, str]]:
        return self.run(claims.rescue(self.settings))

    def due(self) -> list[str]:
        return self.run(maintenance.due())

    def finish(self) -> None:
        """The ends of all followers are written."""
        while self.run(maintenance.finish(self.settings)):
            pass

    def fold(self) -> None:
        """What has expired is taken off its callers' accounts."""
        while self.run(headroom.fold()):
            pass

    def expire(self) -> list[str]:
        ended, looked_at = list[str](), 1
        while looked_at:
            jobs, looked_at = self.run(maintenance.expire(self.settings))
            ended += jobs
        return ended

    def next_delivery(self) -> webhooks.DueCall | None:
        """The webhook call that a courier gets next."""
        return next_call(self.run, self.settings, self.token())

    def tell(
        self,
        call: webhooks.DueCall,
        status: int | None = 200,
        *,
        error: str | None = None,
        delay_s: float | None = None,
    ) -> str:
        """Report a call; with an error it failed, and is tried again after `delay_s` where that is given."""
        tried = Delivery(call.notice.type, self.now, 7, status, error, call.tries + 1)
        return self.run(webhooks.report(self.settings, call, tried, delay_s))

    def pause(self, *, paused: bool = True) -> None:
        self.run(models.change(LANE, "pause" if paused else "resume"))

    def drain(self) -> None:
        self.run(models.change(LANE, "drain"))

    def remove_model(self) -> None:
        self.run(models.remove(LANE))

    def add_model(self, row: str | None = None) -> str:
        return self.run(models.add(LANE, row))

    def sweep(self) -> int:
        """Maintenance ends work that waits since before its model was removed; returns how much."""
        ended = 0
        for lane, generation in self.run(models.registrations()).removing.items():
            cursor, done = 0, None
            while done is None:
                cursor, (*pieces, last) = models.open_jobs(self.store, cursor)
                done = None if cursor else generation
                ended += sum(self.run(models.sweep(self.settings, lane, jobs)) for jobs in pieces)
                ended += self.run(models.sweep(self.settings, lane, last, done))
        return ended

    def lose_worker(self) -> list[tuple[str, str]]:
        """Every lease runs out, and maintenance notices."""
        for _ in range(round(self.settings.queue.lease_s) + 1):
            self.wait(1)
            rescued = self.rescue()
            if rescued:
                return rescued
        return []

    def beat(self, *, worker: str = "worker_01", state: workers.State = "ready", **changes: Any) -> str:
        said = {"lane": LANE, "fingerprint": PRINT, "facts": {}, **changes}
        return self.run(workers.beat(self.settings, worker=worker, state=state, **said))

    def node_beat(self, node: str = "node_01", *, gone: bool = False, **facts: str) -> None:
        self.run(workers.node_beat(self.settings, node=node, lanes={LANE: facts}, gone=gone))

    def place(self, worker: str, *, known: int = 0) -> str:
        record = {"host": "gpu-3", "pid": "0"}
        return self.run(workers.place(self.settings, lane=LANE, worker=worker, known=known, record=record))

    def fleet(self) -> Fleet:
        (seen,) = self.run(workers.fleet(self.settings, [LANE]))
        return seen

    def try_view(self, job: str, caller: str = "anyone") -> JobView | None:
        return self.run(jobs.view(self.settings, caller, job))

    def view(self, job: str, caller: str = "anyone") -> JobView:
        view = self.try_view(job, caller)
        assert view is not None
        return view

    def cancel(self, job: str, caller: str = "anyone") -> JobView | None:
        return self.run(jobs.cancel(self.settings, caller, job))

    def purge(self, job: str, caller: str = "anyone") -> list[str] | None:
        return self.run(jobs.purge(self.settings, caller, job))

    def page(self, after: str | None = None, limit: int = 10, caller: str = "anyone") -> list[str] | None:
        """Ids; None where the cursor is another's."""
        page = self.run(jobs.jobs(self.settings, caller, after=after, limit=limit))
        return None if page is None else [v.id for v in page.views]

    def listed(
        self, after: str | None = None, limit: int = 10, caller: str = "anyone", **wanted: Any
    ) -> Page:
        call = jobs.jobs(self.settings, caller, after=after, limit=limit, wanted=Filter(**wanted))
        page = self.run(call)
        assert page is not None
        return page

    def events(self, job: str, after: int = 0, caller: str = "anyone") -> list[Event]:
        """All there is behind `after`, read as a stream reads: page by page."""
        found: list[Event] = []
        while True:
            event_page = self._event_page(caller, job, found[-1].id if found else after)
            assert event_page is not None
            if not event_page.events:
                return found
            found += event_page.events

    def _event_page(self, caller: str, job: str, after: int) -> EventPage | None:
        """As `EventReader` reads."""
        event_page = self.run(jobs.follow(caller, job, after))
        if event_page and event_page.unread:
            with suppress(WritesRefused):
                return self.run(jobs.follow(caller, job, after, first=True))
        return event_page

    def story(self, job: str) -> list[str]:
        return [e.type for e in self.events(job)]

    def life(self, id: str | None) -> float:
        """Seconds for which callers see a job from now on; -1 while it has not ended."""
        till = self.field(id, "till")
        return (float(till) - self.now) / 1000 if till else float(self.client.ttl(f"sl9:{id}"))

    def kept(self, id: str | None) -> float:
        """Seconds for which the answer of an ended job is read from now on."""
        return (float(self.field(id, "kept")) - self.now) / 1000

    def waiting(self, lane: str = LANE) -> int:
        """How much stands in a lane's line, suspects included."""
        state = self.lane_state(lane)
        return sum(state.get(count, 0) for count in WAITING)

    def lane_state(self, lane: str = LANE) -> dict[str, Any]:
        """Counts, marks and measurements of a lane (`functions/lanes.lua`); empty where nothing is known."""
        with suppress(ValueError):  # the next call that reads the lane counts it anew
            return dict(json.loads(self.client.hget(f"sl9:lane:{lane}", "q") or "{}"))
        return {}

    def change_lane(self, **fields: Any) -> None:
        """Sets counts and facts of a lane."""
        facts = {name: fields.pop(name) for name in list(fields) if name in LANE_FACTS}
        counts = json.dumps(self.lane_state() | fields)
        self.client.hset(f"sl9:lane:{LANE}", mapping=facts | {"q": counts})

    def key_names(self) -> set[str]:
        return set(self.client.keys("sl9:*"))

    def dump(self) -> dict[str, Any]:
        """Everything in the store, to see that nothing changed."""
        keys = sorted(self.key_names())
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.type(key)
        for key, kind in zip(keys, pipe.execute(), strict=True):
            READS[kind](pipe, key)
        found = dict(zip(keys, pipe.execute(), strict=True))
        return {key: unpacked(value) if isinstance(value, dict) else value for key, value in found.items()}

    def field(self, id: str | None, name: str) -> Any:
        """Of a job's record."""
        return fields_of(self.client, id).get(name)

    def change(self, id: str | None, **fields: Any) -> None:
        """Sets fields of a job's record; None removes one."""
        change(self.client, id, **fields)
