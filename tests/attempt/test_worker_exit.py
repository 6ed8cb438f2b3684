"""A worker that gives up says so before it leaves."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from redis.exceptions import ResponseError

from shared.store import jobs
from tests.support.attempt_harness import MODEL, WorkerHarness
from tests.support.metrics import counted
from worker.celery_app import Exit
from worker.heartbeat import Heartbeat
from worker.watchdogs import BrokerWatch

Fate = Callable[[pytest.MonkeyPatch, WorkerHarness], None]


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr("worker.heartbeat.os._exit", codes.append)
    return codes


@contextmanager
def serving(harness: WorkerHarness) -> Iterator[Heartbeat]:
    """A worker between two beats; the test takes the next step."""
    heartbeat = harness.heartbeat()
    heartbeat.ready("f" * 32, {}, harness.context.engine)
    heartbeat.watch(BrokerWatch(harness.nudger, harness.leases, lane=MODEL.lane, slots=1))
    yield heartbeat


def given_back_and_lost() -> tuple[float, ...]:
    return tuple(
        counted("sightline_attempts_total", model=MODEL.id, outcome=outcome)
        for outcome in ("given_back", "lost")
    )


def state(harness: WorkerHarness) -> str:
    return harness.store.run(jobs.lane(harness.settings, MODEL.lane)).state


def hang(monkeypatch: pytest.MonkeyPatch, _harness: WorkerHarness) -> None:
    monkeypatch.setattr("worker.watchdogs.StallDetector.stalled_s", lambda _stall, _engine: 31.0)


def break_device(monkeypatch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    monkeypatch.setattr(type(harness.context.engine), "broken", True)


def deafen(monkeypatch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    monkeypatch.setattr("worker.watchdogs.NUDGE_LIMIT_S", 0.0)
    harness.nudger.send(MODEL.lane)


@pytest.mark.parametrize(
    ("fate", "code"),
    [(hang, Exit.STALLED), (break_device, Exit.DEVICE_BROKEN), (deafen, Exit.STARVED)],
)
def test_callers_are_not_let_in_to_a_worker_that_has_given_up(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, left: list[int], fate: Fate, code: Exit
) -> None:
    with serving(harness) as heartbeat:
        fate(monkeypatch, harness)
        before = state(harness)
        heartbeat._check_engine()
        heartbeat._check_broker()
        assert (before, left[0], state(harness)) == ("ready", code, "no_worker")


@pytest.mark.parametrize(
    ("cancelled", "counted", "outcome"), [(False, [1, 0], "engine_stalled"), (True, [0, 1], "lost")]
)
def test_an_attempt_whose_engine_hung_is_in_the_metrics_and_the_log(
    harness: WorkerHarness,
    monkeypatch: pytest.MonkeyPatch,
    left: list[int],
    caplog: pytest.LogCaptureFixture,
    cancelled: bool,
    counted: list[int],
    outcome: str,
) -> None:
    job = harness.ask("long")
    before = given_back_and_lost()
    hang(monkeypatch, harness)
    with (
        serving(harness) as heartbeat,
        caplog.at_level(logging.INFO, "worker.telemetry"),
        harness.leases.hold(harness.claim()),
    ):
        if cancelled:
            harness.cancel(job)
            heartbeat._renew()
        heartbeat._check_engine()
        assert left == [Exit.STALLED]
        after = given_back_and_lost()
        assert [after[0] - before[0], after[1] - before[1]] == counted
    told = [record for record in caplog.records if record.message == "attempt ended"]
    assert [vars(record)["fields"]["outcome"] for record in told] == [outcome]


def test_a_request_that_hangs_one_engine_after_the_other_ends_as_poison(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    job = harness.ask("hangs every engine")
    hang(monkeypatch, harness)
    for _ in range(harness.settings.queue.max_deaths):
        with serving(harness) as heartbeat, harness.leases.hold(harness.claim()):
            heartbeat._check_engine()
    error = harness.failure(job)
    assert (error.code, error.retryable) == ("poison", False)
    assert set(left) == {Exit.STALLED}


def test_a_run_claimed_while_a_deaf_worker_takes_its_leave_waits_for_no_lease(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    job, say = harness.ask("hello"), Heartbeat.report
    deafen(monkeypatch, harness)
    with serving(harness) as heartbeat, ExitStack() as claims:

        def claimed_meanwhile(gone: Heartbeat, facts: dict[str, str]) -> None:
            say(gone, facts)
            claims.enter_context(harness.leases.hold(harness.claim()))

        monkeypatch.setattr(Heartbeat, "report", claimed_meanwhile)
        heartbeat._check_broker()
        assert left == [Exit.STARVED]
        assert [attempt.outcome for attempt in harness.job(job).attempts] == ["worker_draining"]
        assert harness.claim().attempt == 2


def test_a_worker_that_gives_up_leaves_even_where_the_store_refuses_its_word(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    def refuse(_heartbeat: Heartbeat, _facts: dict[str, str]) -> None:
        raise ResponseError("MISCONF Errors writing to the AOF file")

    with serving(harness) as heartbeat:
        hang(monkeypatch, harness)
        monkeypatch.setattr(Heartbeat, "report", refuse)
        with pytest.raises(ResponseError):
            heartbeat._check_engine()
        assert left == [Exit.STALLED]
