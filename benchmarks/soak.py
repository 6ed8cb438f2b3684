"""Whether anything is left behind: six minutes, more where other work runs.

20,000 jobs with lives of some seconds, in three legs. After each leg nothing is submitted until everything
that can expire has expired: the rest has leaked. It also prints the longest call of each function of the
record store; on a busy machine that includes the time in which other processes had the core.
"""

import itertools
import json
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from matplotlib.figure import Figure
from redis import Redis

from benchmarks.frame import command, jobs, longest, report
from benchmarks.frame.services import record_server, temporary_folder
from benchmarks.frame.statistics import Bound
from shared.blobs import Blobs
from shared.job import Times
from shared.result import JobError, Piece
from shared.settings import BlobSettings, QueueSettings, RedisSettings, RetentionSettings, Settings
from shared.store import admission, claims, files
from shared.store import jobs as records
from shared.store.admission import JobTerms, Placing, Submitted
from shared.store.claims import Claim
from shared.store.keys import INTAKE, PREFIX
from shared.store.nudges import Nudger
from shared.store.script import ScriptCall, Store, connect
from worker.maintenance.leader import MaintenanceLeader

T = TypeVar("T")
JOBS, PER_S, SEED, LEGS = 20_000, 150, 1, 3
GROWTH_LIMIT = 1.05
SAMPLE_S, MAINTENANCE_S, HEARTBEAT_S = 1.0, 0.25, 0.3
RUN_OUT_LIMIT_S = 90
"""Longer than any record lives here: the longest is a claim's token, with a minute."""
IDLE_S = 0.005
JOB_S = 8
MODEL = "bench/simulated"
LANE = jobs.lane_of(MODEL)
PICTURES = 5000
CALLERS = tuple(f"caller-{n:02d}" for n in range(40))
"""The last of them submits half of all jobs."""
REMEMBERED = 300
"""Questions that are repeated and jobs that are cancelled or purged come from the newest so many."""
CLAIMS_AT_ONCE = 12
POISON = "poison"
BROKEN = JobError(code="invalid_image", message="The picture is broken.")
FAILURE = JobError(code="attempts_exhausted", message="It failed.", retryable=True)
ANSWER = jobs.answer("A red square.", tokens=3)
_WORK = re.compile(r"^(job|run)_[0-9a-f]+(:.+)?$")
LASTING = frozenset({"lanes", "lane", "prints", "upkeep", "mem", "keep"})
"""Keys that outlive every job: the known lanes, what was measured of each, the fingerprints seen (a day),
when maintenance looked last, and what callers are charged, which is taken off by the hour."""


class Soak:
    """The periodic steps, each at its own pace, and the samples taken."""

    def __init__(self, redis: RedisSettings, folder: Path) -> None:
        self.settings = Settings(
            redis=redis,
            queue=QueueSettings(
                lease_s=1, renew_s=0.3, rescue_s=MAINTENANCE_S, backoff_s=0.1, worker_ttl_s=3
            ),
            retention=RetentionSettings(result_s=4, job_s=JOB_S, idempotency_s=3, event_s=6),
            blobs=BlobSettings(url=str(folder)),
        )
        self.store: Store = connect(redis)
        self.samples: list[Sample] = []
        self.after_legs: list[Sample] = []
        self.submitted = 0
        self.longest = longest.LongestCalls()
        self.traffic = Traffic(self.store, self.settings)
        self._broker = Redis.from_url(redis.broker_url)
        self._slow_log = Redis.from_url(redis.store_url)
        blobs = Blobs(self.settings.blobs)
        self._maintenance = MaintenanceLeader(self.settings, self.store, Nudger(redis), blobs, "courier")
        self._began = time.monotonic()
        self._due = dict.fromkeys((SAMPLE_S, MAINTENANCE_S, HEARTBEAT_S), self._began)

    def step(self) -> None:
        """What is due of heartbeats, maintenance and samples, and a look for work."""
        if self._is_due(HEARTBEAT_S):
            self.traffic.beat()
        if self._is_due(MAINTENANCE_S):
            self._maintenance.run_once()
            # No Celery takes the nudges here.
            self._broker.delete(LANE, INTAKE)
        if self._is_due(SAMPLE_S):
            at_s = time.monotonic() - self._began
            self.longest.collect(self._slow_log)
            self.samples.append(sample_store(self.store.client, at_s, self.submitted))
        self.traffic.work()

    def leg(self, count: int) -> dict[str, int]:
        """Submit so many, and let everything run out; keys that should have gone, by kind."""
        for _ in self._paced(count):
            self.traffic.submit()
            self.traffic.interfere()
            self.submitted += 1
            self.step()
        deadline = time.monotonic() + RUN_OUT_LIMIT_S
        while (leaks := survivors(self.samples[-1])) and time.monotonic() < deadline:
            self._collect()
            self.step()
            time.sleep(IDLE_S)
        self.after_legs.append(self.samples[-1])
        return leaks

    def _collect(self) -> None:
        """As the leader's walk does with bytes, of which there are none here."""
        for first in range(0, PICTURES, 200):
            names = [f"{number:064x}" for number in range(first, first + 200)]
            marked = self.store.run(files.mark_deleted(names))
            self.store.run(files.deleted(marked))

    def _is_due(self, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due[every_s]:
            return False
        self._due[every_s] = now + every_s
        return True

    def _paced(self, count: int) -> Iterator[None]:
        """Paces a loop; time lost to other processes is not made up for by a burst."""
        due = time.monotonic()
        for _ in range(count):
            time.sleep(max(due - time.monotonic(), 0))
            yield
            due = max(due + 1 / PER_S, time.monotonic() - 1 / PER_S)


class Traffic:
    """`happened` counts what was done and what came of it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.happened = Counter[str]()
        self._store = store
        self._settings = settings
        self._dice = random.Random(SEED)  # noqa: S311
        self._numbers = itertools.count(1)
        self._questions: deque[str] = deque(maxlen=REMEMBERED)
        self._jobs: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        self._claims: deque[Claim] = deque()
        self._worker = ""
        self._restart_worker()

    def submit(self) -> None:
        """One job of some caller: mostly a new question, else one that was asked earlier."""
        caller = CALLERS[min(self._dice.randrange(2 * len(CALLERS)), len(CALLERS) - 1)]
        placing, terms = self._placing(caller), self._terms()
        submitted = self._run(admission.submit(placing, self._settings, terms))
        if submitted.word == "pictures":
            self._run(files.touch(submitted.missing, placing.job))
            submitted = self._run(admission.submit(placing, self._settings, terms, uploaded=True))
        if submitted.view:
            self._jobs.append((caller, submitted.view.id))
        self.happened[f"submitted: {_result(placing.job, submitted)}"] += 1

    def interfere(self) -> None:
        """Now and then a caller cancels, purges, lists or looks."""
        caller, job = self._dice.choice(self._jobs)
        actions: dict[str, Callable[[], ScriptCall[Any]]] = {
            "cancel": lambda: records.cancel(self._settings, caller, job),
            "purge": lambda: records.purge(self._settings, caller, job),
            "list": lambda: records.jobs(self._settings, caller, after=None, limit=20),
            "view": lambda: records.view(self._settings, caller, job),
        }
        action = self._dice.choices((*actions, ""), (3, 5, 1, 5, 86))[0]
        if action:
            self.happened[action] += 1
            answer = self._run(actions[action]())
            if action == "purge" and answer:
                self._run(files.deleted(answer))

    def work(self) -> None:
        """The worker claims what it may, and ends the oldest of its claims."""
        while len(self._claims) < CLAIMS_AT_ONCE:
            claim = self._claim(LANE)
            if claim is None:
                break
            self._claims.append(claim)
            if POISON in claim.request or self._dice.random() < 0.001:
                self.happened["died"] += 1
                self._restart_worker()
                return
        if self._claims:
            self._end(self._claims.popleft())
        self._ingest()

    def beat(self) -> None:
        self._run(jobs.beat(self._worker, LANE, rows=4, slots=CLAIMS_AT_ONCE, settings=self._settings))
        self._run(claims.renew(self._settings, self._worker, [(c.id, c.token) for c in self._claims]))

    def _placing(self, caller: str) -> Placing:
        number = next(self._numbers)
        question = f"question {number}"
        if self._questions and self._dice.random() < 0.3:
            # The newest may still wait: the two share a run then.
            question = self._dice.choice((self._questions[-1], self._dice.choice(self._questions)))
        self._questions.append(question)
        pictures = self._dice.choices((0, 1, 2), (70, 25, 5))[0]
        poison = POISON if self._dice.random() < 0.0005 else ""
        return jobs.placing(
            MODEL,
            caller,
            priority=self._dice.choice(("interactive", "normal", "batch")),
            hash=question,
            key=f"all:{question}" if self._dice.random() < 0.9 else None,
            blobs=tuple(f"{self._dice.randrange(PICTURES):064x}" for _ in range(pictures)),
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
        outcome = self._dice.choices(("succeeds", "failed", "again", "drained"), (90, 3, 4, 3))[0]
        if outcome == "succeeds":
            self._run(claims.append(claim, Piece(claim.published, "A red", (1, 2))))
            self._run(jobs.settle(claim, ANSWER, self._settings))
        elif outcome == "failed":
            self._run(jobs.settle(claim, BROKEN, self._settings))
        else:
            error = FAILURE if outcome == "again" else None
            self._run(claims.give_back(self._settings, claim, reason=outcome, error=error))
        self.happened[f"attempt: {outcome}"] += 1

    def _ingest(self) -> None:
        """The courier's part: fetch, and admit or fail."""
        claim = self._claim(INTAKE)
        if claim is None:
            return
        if self._dice.random() < 0.1:
            self._run(claims.settle(self._settings, claim, BROKEN))
            self.happened["intake: failed"] += 1
        elif self._dice.random() < 0.05:
            self.happened["intake: courier died"] += 1
        else:
            placing = replace(self._placing(claim.caller), job=claim.id)
            self._run(files.touch(placing.blobs, placing.job))
            self._run(admission.admit(placing, self._settings, token=claim.token))
            self.happened["intake: admitted"] += 1

    def _claim(self, lane: str) -> Claim | None:
        worker = self._worker if lane == LANE else "courier"
        return self._run(jobs.claim(worker, lane, self._settings))

    def _restart_worker(self) -> None:
        """A new worker comes; the last one has vanished with all its claims."""
        self._claims.clear()
        self._worker = f"worker_{next(self._numbers)}"
        self.beat()

    def _run(self, call: ScriptCall[T]) -> T:
        return self._store.run(call)


def _result(job: str, submitted: Submitted) -> str:
    if submitted.view is None or submitted.view.id != job:
        return submitted.word
    return (submitted.view.cache or submitted.word).lower()


@dataclass(frozen=True)
class Sample:
    """`keys` counts them by kind."""

    at_s: float
    submitted: int
    used_mb: float
    keys: dict[str, int]


def kind(key: str) -> str:
    """`run:events` for `sl8:run_0123:events`, `cache` for `sl8:cache:…`."""
    name = key.removeprefix(PREFIX)
    work = _WORK.match(name)
    return work[1] + (work[2] or "") if work else name.partition(":")[0]


def sample_store(redis: Any, at_s: float, submitted: int) -> Sample:
    """A look at every key."""
    keys = Counter(map(kind, redis.scan_iter(match=f"{PREFIX}*", count=2000)))
    used_mb = round(redis.info("memory")["used_memory"] / 1e6, 2)
    return Sample(round(at_s, 1), submitted, used_mb, dict(sorted(keys.items())))


def survivors(sample: Sample) -> dict[str, int]:
    """Keys that are neither lasting nor a living worker's."""
    return {kind: count for kind, count in sample.keys.items() if kind not in LASTING and kind != "ready"}


def keys_of_a_job(samples: Sequence[Sample]) -> list[float]:
    """Keys under load over the jobs submitted within JOB_S before, the median of each leg.

    The ratio does not depend on the pace, which a busy machine cannot hold. Claims live longer and do not
    count. 0 where a leg was too short.
    """
    legs: list[list[float]] = [[] for _ in range(LEGS)]
    for at, sample in enumerate(samples):
        leg = sample.submitted * LEGS // samples[-1].submitted
        before = next((s for s in reversed(samples[:at]) if sample.at_s - s.at_s >= JOB_S), None)
        loaded = at and sample.submitted > samples[at - 1].submitted
        if before and loaded and before.submitted * LEGS // samples[-1].submitted == leg:
            keys = sum(sample.keys.values()) - sample.keys.get("claim", 0)
            pace = (sample.submitted - before.submitted) / (sample.at_s - before.at_s)
            legs[leg].append(keys / (pace * JOB_S))
    return [median(values or [0.0]) for values in legs]


def measure(arguments: command.Options, _: command.Say) -> report.Findings:
    with record_server() as records, temporary_folder() as folder:
        soak = Soak(records.settings, folder)
        leaks = [soak.leg(arguments.jobs // LEGS) for _ in range(LEGS)]
    figures = {
        "jobs": arguments.jobs,
        "happened": dict(sorted(soak.traffic.happened.items())),
        "after_each_leg": [asdict(sample) for sample in soak.after_legs],
        "keys_of_a_job": [round(x, 2) for x in keys_of_a_job(soak.samples)],
        "survivors": leaks,
        "longest_ms": soak.longest.figures,
    }
    summary = f"{longest.table(soak.longest.figures)}\nleft over after each leg: {leaks}"
    return report.Findings(figures, _picture(soak.samples), _bounds(figures), summary=summary)


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    _, second, third = figures["after_each_leg"]
    _, under_second, under_third = figures["keys_of_a_job"]
    return [
        Bound("memory after leg 3 over leg 2", third["used_mb"] / second["used_mb"], GROWTH_LIMIT, ""),
        Bound("keys for a job, leg 3 over leg 2", under_third / max(under_second, 0.01), GROWTH_LIMIT, ""),
        Bound("keys left over", sum(sum(x.values()) for x in figures["survivors"]), 0, "keys"),
    ]


def _picture(samples: Sequence[Sample]) -> Figure:
    """Memory and keys over the three legs."""
    figure, (memory, keys) = report.figure(2)
    times = [sample.at_s for sample in samples]
    memory.plot(times, [sample.used_mb for sample in samples])
    totals = [sum(sample.keys.values()) for sample in samples]
    keys.plot(times, totals, label="all")
    without = [total - sample.keys.get("claim", 0) for total, sample in zip(totals, samples, strict=True)]
    keys.plot(times, without, label="without claims")
    for panel, name in ((memory, "used_memory, MB"), (keys, "keys")):
        panel.set_xlabel("s: three legs, after each everything expires")
        panel.set_ylabel(name)
        panel.set_ylim(bottom=0)
    keys.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


if __name__ == "__main__":
    command.main("soak", __doc__, measure, jobs=(JOBS, "jobs in all"))
