"""A living worker keeps its claims and hears what becomes of them; a hung one gives them up."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis.exceptions import ResponseError

from shared.errors import Unavailable
from shared.store import jobs, models
from shared.store.keys import PREFIX, channel
from shared.store.script import ScriptCall, Store
from tests.support.attempt_harness import MODEL, STALL, WorkerHarness, worker_harness
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from tests.support.redis_server import RedisServer
from worker.celery_app import Exit
from worker.heartbeat import Heartbeat
from worker.lease import Lease

T = TypeVar("T")
NEVER_S = 600


@pytest.fixture
def patient(redis: RedisServer) -> Iterator[WorkerHarness]:
    """A worker whose next beat is far off: only what wakes it makes it beat."""
    with worker_harness(redis, renew_s=NEVER_S, lease_s=3 * NEVER_S) as harness:
        yield harness


@contextmanager
def beating(harness: WorkerHarness) -> Iterator[Heartbeat]:
    heartbeat = harness.heartbeat()
    heartbeat.start({})
    until(lambda: dict(harness.store.client.pubsub_numsub(channel(harness.worker)))[channel(harness.worker)])
    try:
        yield heartbeat
    finally:
        ending = threading.Thread(target=heartbeat.stop, args=({},))
        ending.start()
        until(lambda: wake(harness) and not ending.is_alive())
        ending.join()
        heartbeat._thread.join(PATIENCE_S)


@contextmanager
def started(harness: WorkerHarness, mark: Path | None = None, row: str | None = None) -> Iterator[Heartbeat]:
    settings = harness.settings.model_copy(update={"heartbeat_file": mark})
    heartbeat = Heartbeat(
        settings, harness.store, harness.leases, worker=harness.worker, lane=MODEL.lane, row=row
    )
    heartbeat.start({})
    try:
        yield heartbeat
    finally:
        heartbeat.stop({})
        # Else it could still end this process, once a test's own `os._exit` is gone.
        heartbeat._thread.join(PATIENCE_S)


def wake(harness: WorkerHarness) -> bool:
    harness.store.client.publish(channel(harness.worker), "state")
    return True


def lease_end(harness: WorkerHarness, lease: Lease) -> float:
    return float(harness.store.client.zscore(f"{PREFIX}lease:{MODEL.lane}", lease.claim.id) or 0)


def test_a_cancelled_run_stops_without_waiting_for_the_next_beat(patient: WorkerHarness) -> None:
    job = patient.ask(f"{STALL} for ever")
    with beating(patient), patient.attempting():
        until(patient.leases.all)
        patient.cancel(job)
    assert patient.story(job) == ["queued", "running", "cancelled"]


def test_callers_see_a_worker_load_serve_and_leave(harness: WorkerHarness) -> None:
    def state() -> str:
        return harness.store.run(jobs.lane(harness.settings, MODEL.lane)).state

    assert state() == "no_worker"
    with beating(harness) as heartbeat:
        assert state() == "loading"
        heartbeat.ready("f" * 32, {"rows": "4"}, harness.context.engine)
        assert state() == "ready"
        heartbeat.drain()
        until(lambda: state() == "no_worker")
    assert state() == "no_worker"


def test_a_worker_keeps_its_claims_over_an_outage_of_the_store(
    redis: RedisServer, harness: WorkerHarness
) -> None:
    harness.ask("long")
    with harness.leases.hold(harness.claim()) as lease, beating(harness):
        redis.kill()
        redis.start()
        first = lease_end(harness, lease)
        until(lambda: lease_end(harness, lease) > first)
        assert not lease.cancel.is_set()


def test_one_failing_beat_does_not_cost_a_worker_its_claims(harness: WorkerHarness) -> None:
    class Odd(Store):
        failed = threading.Event()

        def run(self, call: ScriptCall[T]) -> T:
            if call.function == "renew" and not self.failed.is_set():
                self.failed.set()
                raise ResponseError("MISCONF Errors writing to the AOF file")
            return super().run(call)

    harness.ask("long")
    store = Odd(harness.store.client)
    heartbeat = harness.heartbeat(store)
    with harness.leases.hold(harness.claim()) as lease:
        first = lease_end(harness, lease)
        heartbeat.start({})
        assert store.failed.wait(PATIENCE_S)
        until(lambda: lease_end(harness, lease) > first)
    heartbeat.stop({})


def test_the_runs_of_a_hung_engine_go_on_elsewhere_at_once(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = threading.Event()
    monkeypatch.setattr("worker.heartbeat.os._exit", lambda _code: left.set())
    monkeypatch.setattr("worker.watchdogs.StallDetector.stalled_s", lambda _stall, _engine: 31.0)
    job = harness.ask("long")
    with harness.leases.hold(harness.claim()), beating(harness) as heartbeat:
        heartbeat.ready("f" * 32, {}, harness.context.engine)
        assert left.wait(PATIENCE_S)
        assert [a.outcome for a in harness.job(job).attempts] == ["engine_stalled"]
        assert harness.claim().attempt == 2


def test_a_hung_worker_leaves_at_once_where_the_store_is_out_of_reach_too(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call waits for a connection that does not come; a worker holds many runs."""
    asked = count()

    def away(_store: Store, _call: Any) -> None:
        next(asked)
        raise Unavailable("store_unavailable", "gone")

    harness.ask("one")
    harness.ask("two")
    with harness.leases.hold(harness.claim()), harness.leases.hold(harness.claim()):
        monkeypatch.setattr(Store, "run", away)
        monkeypatch.setattr("worker.heartbeat.os._exit", lambda _code: None)
        heartbeat = harness.heartbeat(worker="worker_1")
        heartbeat._exit(Exit.STALLED, harness.leases.all())
    assert next(asked) == 1


def test_a_worker_whose_device_broke_stays_until_its_runs_are_given_back(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = threading.Event()
    monkeypatch.setattr("worker.heartbeat.os._exit", lambda _code: left.set())
    monkeypatch.setattr(type(harness.context.engine), "broken", True)
    harness.ask("long")
    with beating(harness) as heartbeat:
        with harness.leases.hold(harness.claim()) as lease:
            heartbeat.ready("f" * 32, {}, harness.context.engine)
            first = lease_end(harness, lease)
            until(lambda: lease_end(harness, lease) > first + 300)
            assert not left.is_set()
        assert left.wait(PATIENCE_S)


def test_a_watcher_outside_sees_that_a_worker_lives_while_its_store_hangs(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark, asked, answered = tmp_path / "heartbeat", threading.Event(), threading.Event()

    def hung(*_: Any) -> None:
        asked.set()
        answered.wait(PATIENCE_S)

    with started(harness, mark):
        monkeypatch.setattr(Store, "run", hung)
        assert asked.wait(PATIENCE_S)
        mark.unlink()
        until(mark.exists)
        answered.set()


def test_a_worker_whose_device_broke_leaves_even_where_its_mark_cannot_be_written(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = threading.Event()
    monkeypatch.setattr("worker.heartbeat.os._exit", lambda _code: left.set())
    monkeypatch.setattr(type(harness.context.engine), "broken", True)
    with started(harness, tmp_path / "no such folder" / "mark") as heartbeat:
        heartbeat.ready("f" * 32, {}, harness.context.engine)
        assert left.wait(PATIENCE_S)


def test_a_watcher_outside_can_tell_a_worker_that_loads_from_one_that_takes_work(
    harness: WorkerHarness, tmp_path: Path
) -> None:
    mark = tmp_path / "heartbeat"
    with started(harness, mark) as heartbeat:
        until(lambda: mark.exists() and mark.read_text() == "loading")
        heartbeat.ready("f" * 32, {}, harness.context.engine)
        until(lambda: mark.read_text() == "ready")
        heartbeat.drain()
        until(lambda: mark.read_text() == "gone")


def test_a_worker_whose_model_was_added_anew_with_another_row_ends_once_its_runs_have(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a supervisor the next process loads what is meant."""
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    before, after = (json.dumps({"id": "org/model", "source": "org/model", "rows": rows}) for rows in (1, 2))
    harness.ask("begun before")
    harness.store.run(models.add(MODEL.lane, before))
    with started(harness, row=before) as heartbeat:
        with harness.leases.hold(harness.claim()):
            harness.store.run(models.remove(MODEL.lane))
            harness.store.run(models.add(MODEL.lane, after))
            until(lambda: heartbeat._is_outdated)
            assert not left
        until(lambda: left)
        assert set(left) == {Exit.OUTDATED}
