"""A worker's threads take no more than its rows can, leave the rest to others, and sleep through no room."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest

from shared import ids
from shared.blobs import Blobs, digest
from shared.models import SPARE_THREADS
from shared.request import Image, Medium, Sound, Video
from shared.store.admission import submit
from shared.store.claims import Claim, ClaimReply, Full, claim, settle, within
from shared.store.jobs import view
from tests.support import pictures as make
from tests.support.attempt_harness import MODEL, STALL, LossyStore, WorkerHarness, worker_harness
from tests.support.clients import until
from tests.support.redis_server import RedisServer
from tests.support.store import answer
from worker.claim_loop import ClaimLoop, Lookahead
from worker.engines.echo import EchoEngine
from worker.fair_semaphore import MIN_CONCURRENCY, FairSemaphore
from worker.heartbeat import Heartbeat
from worker.model_worker import ModelWorker
from worker.watchdogs import BrokerWatch

T = TypeVar("T")
PICTURE = make.picture()
SLOTS = 6
FOR_EVER_S = 100.0


class Threads:
    """A worker's threads, each of which holds what it claimed until it is told to go on."""

    def __init__(self, harness: WorkerHarness) -> None:
        self.harness = harness
        self.slots = SLOTS
        self.held: dict[str, threading.Event] = {}
        self.asked = 0
        self.claim_loop = ClaimLoop(self._ask, lambda: harness.nudger.send(MODEL.lane), SLOTS)
        self._pool = ThreadPoolExecutor(SLOTS)
        self._at_work: list[Future[None]] = []

    def nudge(self) -> "Future[None]":
        """As Celery does with a free thread."""
        self._at_work.append(self._pool.submit(self._work))
        return self._at_work[-1]

    def end(self, run: str) -> None:
        self.held.pop(run).set()

    def close(self) -> None:
        until(self._gone_home)
        self._pool.shutdown()

    def _gone_home(self) -> bool:
        for run in list(self.held):
            self.end(run)
        self.claim_loop.wake_all()
        return all(work.done() for work in self._at_work)

    def _work(self) -> None:
        self.claim_loop.work(self._attempt)

    def _attempt(self, taken: Claim) -> ClaimReply:
        on = self.held[taken.id] = threading.Event()
        assert on.wait(FOR_EVER_S)
        self.harness.store.run(settle(self.harness.settings, taken, answer(), fingerprint="a" * 32))
        return "again"

    def _ask(self) -> ClaimReply:
        self.asked += 1
        harness, name = self.harness, self.harness.worker
        call = claim(harness.settings, lane=MODEL.lane, worker=name, token=ids.token(), fingerprint="a" * 32)
        return harness.store.run(within(self.slots, call))


def worker_of(harness: WorkerHarness, **changes: Any) -> ModelWorker:
    return ModelWorker(
        context=replace(harness.context, **changes),
        model=MODEL,
        row=None,
        slots=SLOTS,
        worker=harness.worker,
        heartbeat=cast(Heartbeat, None),
        broker_watch=BrokerWatch(harness.nudger, harness.leases, lane=MODEL.lane, slots=SLOTS),
    )


@pytest.fixture
def threads(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Threads]:
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", FOR_EVER_S)
    threads = Threads(harness)
    yield threads
    threads.close()


@pytest.fixture
def idle_ones(threads: Threads) -> Threads:
    """More threads than slots, as where an engine came to take fewer rows than were asked for."""
    threads.slots = 3
    return threads


def run_of(harness: WorkerHarness, text: str, answers: int = 1) -> str:
    return str(harness.job(harness.ask(text, n=answers, temperature=1.0)).run_id)


def test_a_full_worker_s_thread_hands_a_nudge_on_and_waits(harness: WorkerHarness, threads: Threads) -> None:
    wide, other = run_of(harness, "wide", 8), run_of(harness, "other")
    threads.nudge()
    until(lambda: wide in threads.held)
    waits = threads.nudge()
    until(lambda: harness.nudger.listed(MODEL.lane) == 1)
    assert not waits.done()
    assert list(threads.held) == [wide]
    threads.end(wide)
    until(lambda: other in threads.held)


def test_when_a_wide_run_ends_all_its_rows_are_taken_again(harness: WorkerHarness, threads: Threads) -> None:
    wide, *narrow = (
        run_of(harness, "wide", 8),
        run_of(harness, "a"),
        run_of(harness, "b"),
        run_of(harness, "c"),
    )
    threads.nudge()
    until(lambda: wide in threads.held)
    for _ in range(3):
        threads.nudge()
    until(lambda: harness.nudger.listed(MODEL.lane) == 3)
    threads.end(wide)
    until(lambda: set(narrow) == set(threads.held))
    assert harness.nudger.listed(MODEL.lane) == 3, "a nudge is handed on once"


def test_threads_without_a_slot_leave_what_waits_to_others(
    harness: WorkerHarness, idle_ones: Threads
) -> None:
    runs = [run_of(harness, str(number)) for number in range(SLOTS)]
    waiting = [idle_ones.nudge() for _ in range(SLOTS)]
    until(lambda: harness.nudger.listed(MODEL.lane) == SLOTS - idle_ones.slots)
    assert set(runs[: idle_ones.slots]) == set(idle_ones.held)
    idle_ones.end(runs[0])
    until(lambda: set(runs[1 : idle_ones.slots + 1]) == set(idle_ones.held))
    assert not any(work.done() for work in waiting)


def attempted(loop: ClaimLoop, *replies: ClaimReply) -> list[Claim]:
    """What one thread attempts; its attempts get these replies to their next claims, "again" after them."""
    claims, left = list[Claim](), iter(replies)

    def attempt(claim: Claim) -> ClaimReply:
        claims.append(claim)
        return next(left, "again")

    loop.work(attempt)
    return claims


def told(*words: ClaimReply) -> ClaimLoop:
    """What asking again and again answers."""
    answers = iter(words)
    return ClaimLoop(lambda: next(answers), lambda: None, SLOTS)


def test_room_that_nobody_here_made_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", 0.01)
    work = Claim("run_1", "t", "{}", "", 1, 0, "anyone", False)
    assert attempted(told("full", "full", work, "full", None)) == [work]


def test_work_behind_a_long_line_that_is_late_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", FOR_EVER_S)
    work = Claim("run_1", "t", "{}", "", 1, 0, "anyone", False)
    assert attempted(told("again", "again", work, None)) == [work]


def test_a_run_that_came_with_the_end_of_the_last_is_attempted_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", FOR_EVER_S)
    first, second, third = (Claim(f"run_{n}", "t", "{}", "", 1, 0, "anyone", False) for n in range(3))
    assert attempted(told(first, third), second, "full", None) == [first, second, third]


def test_room_that_came_as_the_store_said_full_is_not_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", FOR_EVER_S)

    def ask() -> Full | None:
        if not asked:
            asked.append(True)
            loop.wake_all()
            return "full"
        return None

    asked: list[bool] = []
    loop = ClaimLoop(ask, lambda: None, SLOTS)
    assert attempted(loop) == []


def test_a_worker_that_stops_keeps_no_thread_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", FOR_EVER_S)
    passed_on, answers = threading.Event(), iter(("full", None))
    loop = ClaimLoop(lambda: next(answers), passed_on.set, SLOTS)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(attempted, loop)
        assert passed_on.wait(FOR_EVER_S)
        loop.wake_all()
        assert waiting.result(FOR_EVER_S) == []


def test_a_claim_while_the_store_is_away_is_one_line_of_log_and_no_failed_task(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    job = harness.ask("hello")
    model_worker = worker_of(harness, store=LossyStore(harness.store, calls=1))
    model_worker.work(MODEL.lane)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "claims wait: lost on the way")
    ]
    model_worker.work(MODEL.lane)
    assert harness.text(job) == "hello"


def test_a_draining_worker_claims_nothing_as_a_run_ends(harness: WorkerHarness) -> None:
    jobs = [harness.ask(text) for text in ("one", "two")]
    model_worker = worker_of(harness)
    claimed = harness.claim()
    model_worker.draining.set()
    assert model_worker._attempt(claimed) == "again"
    assert model_worker._claim() is None
    assert [harness.job(job).status for job in jobs] == ["succeeded", "queued"]


def test_rows_of_a_run_that_no_nudge_brought_are_taken_again_at_once(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", FOR_EVER_S)
    model_worker = worker_of(harness)
    harness.ask("wide", n=8, temperature=1.0)
    other = harness.ask("other")
    polled = harness.claim()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(model_worker.work, MODEL.lane)
        until(lambda: harness.nudger.listed(MODEL.lane) == 1)
        model_worker._attempt_alone(polled)
        until(lambda: harness.job(other).status == "succeeded")
        waiting.result()


@pytest.mark.parametrize("lost", ["calls", "replies"])
def test_a_run_that_was_claimed_in_a_lost_round_trip_is_no_run_s_loss(
    harness: WorkerHarness, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.lease.RETRY_S", 0.01)
    jobs = [harness.ask(text) for text in ("one", "two", "three")]
    claimed = harness.claim()
    reply = worker_of(harness, store=LossyStore(harness.store, **{lost: 1}))._attempt(claimed)
    assert isinstance(reply, Claim)
    assert harness.job(jobs[0]).status == "succeeded"
    assert [harness.job(job).status for job in jobs[1:]] == ["running", "queued"]


class LongPrompts(EchoEngine):
    """As one whose prompts take their time on the device; answers to STALL begin and never end."""

    prompt_s = 1.0


def test_a_run_is_not_claimed_before_the_prompt_ahead_of_it_begins(harness: WorkerHarness) -> None:
    """So that a more urgent one that comes meanwhile goes first."""
    model_worker = worker_of(harness, engine=LongPrompts(MODEL))
    harness.ask("one")
    usual = harness.ask("two")
    first = model_worker._claim()
    assert isinstance(first, Claim)
    assert model_worker._claim() == "ahead"
    urgent = replace(harness.placing("three", ()), priority="interactive")
    harness.store.run(submit(urgent, harness.settings))
    model_worker.context.lookahead.release(first.token)
    assert isinstance(model_worker._claim(), Claim)
    assert [harness.job(job).status for job in (usual, urgent.job)] == ["queued", "running"]


def test_the_next_run_is_claimed_at_once_when_a_prompt_begins(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", FOR_EVER_S)
    model_worker = worker_of(harness, engine=LongPrompts(MODEL))
    stalled = [harness.ask(f"{STALL} {number}") for number in range(3)]
    with ThreadPoolExecutor(3) as threads:
        for _ in stalled:
            threads.submit(model_worker.work, MODEL.lane)
        until(lambda: len(harness.leases.all()) == len(stalled))
        model_worker.draining.set()
        for lease in harness.leases.all():
            lease.stop("draining")


def test_an_attempt_that_never_begins_keeps_no_other_run_waiting(harness: WorkerHarness) -> None:
    class Failing(LongPrompts):
        def prepare(self, *_: Any) -> Any:
            raise RuntimeError

    model_worker = worker_of(harness, engine=Failing(MODEL))
    harness.ask("hello")
    harness.ask("next")
    claimed = model_worker._claim()
    assert isinstance(claimed, Claim)
    assert isinstance(model_worker._attempt(claimed), str)
    assert isinstance(model_worker._claim(), Claim)


def test_claims_that_were_not_answered_are_not_counted_as_ahead(harness: WorkerHarness) -> None:
    harness.ask("hello")
    model_worker = worker_of(harness, engine=LongPrompts(MODEL), store=LossyStore(harness.store, calls=1))
    assert model_worker._claim() is None
    assert isinstance(model_worker._claim(), Claim)
    assert worker_of(harness, engine=LongPrompts(MODEL))._claim() == "ahead"


def test_a_run_whose_inputs_are_prepared_holds_up_no_other() -> None:
    lookahead = Lookahead(places=2)
    assert lookahead.reserve("slow", 1.0)
    assert lookahead.prepare(Claim("run_1", "slow", '{"digest":"a"}', "", 1, 0, "anyone", False))
    assert lookahead.reserve("next", 1.0)
    lookahead.release("next")
    lookahead.prepared("slow")
    assert not lookahead.reserve("third", 1.0), "one that is ready waits for the device"
    lookahead.release("slow")
    assert lookahead.reserve("third", 1.0)


def test_what_an_engine_short_of_memory_cannot_compute_is_left_to_others(harness: WorkerHarness) -> None:
    class Short(EchoEngine):
        rows_now = 1

    model_worker = worker_of(harness, engine=Short(MODEL))
    for number in range(SLOTS):
        harness.ask(f"question {number}")
    claims = [model_worker._claim() for _ in range(SLOTS)]
    assert [claim == "full" for claim in claims] == [number >= 1 + SPARE_THREADS for number in range(SLOTS)]


class HeldBlobs(Blobs):
    """One whose files come when they may, save those that are `free`."""

    go_on = threading.Event()
    free: frozenset[str] = frozenset()

    def read(self, name: str) -> bytes:
        assert name in self.free or self.go_on.wait(FOR_EVER_S)
        return super().read(name)


@pytest.mark.parametrize("kind", [Image, Sound, Video])
def test_one_caller_s_inputs_that_take_long_keep_nothing_of_another_s_waiting(
    harness: WorkerHarness, kind: type[Medium]
) -> None:
    blobs, places = HeldBlobs(harness.settings.blobs), FairSemaphore(MIN_CONCURRENCY + 1, kept=1)
    blobs.free, blobs.go_on = frozenset([digest(PICTURE)]), threading.Event()
    blobs.write(digest(b"slow"), b"slow")
    worker = worker_of(harness, blobs=blobs, preparing=places)

    def asked(caller: str, text: str, *parts: Medium) -> str:
        placing = replace(
            harness.placing(text, parts, blobs=tuple(str(p.digest) for p in parts)), caller=caller
        )
        harness.store.run(submit(placing, harness.settings, uploaded=True))
        nudge()
        return placing.job

    def nudge() -> None:
        threads.submit(worker.work, MODEL.lane)

    def ended(caller: str, *jobs: str) -> bool:
        views = [harness.store.run(view(harness.settings, caller, job)) for job in jobs]
        return all(found and found.ended_ms for found in views)

    with ThreadPoolExecutor(SLOTS) as threads, ExitStack() as stack:
        stack.callback(blobs.go_on.set)
        worker.idle_poll._pause_s = FOR_EVER_S
        worker.idle_poll.start()
        stack.callback(worker.idle_poll.stop)
        slow = [asked("alice", f"slow {number}", kind(digest=digest(b"slow"))) for number in range(3 * SLOTS)]
        until(lambda: places.count() == MIN_CONCURRENCY)
        blobs.write(digest(PICTURE), PICTURE)
        quick = [asked("zoe", "text"), asked("zoe", "look", Image(digest=digest(PICTURE)))]
        until(lambda: ended("zoe", *quick))
        assert not any(ended("alice", job) for job in slow)
        blobs.go_on.set()
        until(lambda: ended("alice", *slow))
    worker.threads.join()


def test_without_any_nudge_what_waits_comes_to_all_rows_of_all_workers_and_to_those_that_get_free(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the broker is away: a single look of each worker is enough, also of one with long prompts."""
    monkeypatch.setattr("worker.claim_loop.RECHECK_S", FOR_EVER_S)
    with worker_harness(redis) as one, worker_harness(redis) as another, ExitStack() as stack:
        workers = [worker_of(harness, engine=LongPrompts(MODEL)) for harness in (one, another)]
        # One more than a worker computes is ahead.
        stalled = [one.ask(f"{STALL} {number}") for number in range(2 * MODEL.rows + 2)]
        later = [one.ask(f"later {number}") for number in range(2 * SLOTS)]
        for worker in workers:
            worker.idle_poll._pause_s, worker.idle_poll.leaves = FOR_EVER_S, True
            worker.idle_poll.start()
            stack.callback(worker.idle_poll.stop)
            stack.callback(worker.claim_loop.wake_all)
            stack.callback(worker.draining.set)
            worker.idle_poll.wake()
        until(lambda: {len(harness.leases.all()) for harness in (one, another)} == {MODEL.rows + 1})
        for job in stalled:
            one.cancel(job)
        for lease in one.leases.all() + another.leases.all():
            lease.stop("lost")
        until(lambda: all(one.job(job).status == "succeeded" for job in later))
        assert one.nudger.listed(MODEL.lane) == 0
