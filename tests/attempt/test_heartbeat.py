"""A living worker keeps its claims and hears what becomes of them; a hung one gives them up."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis.exceptions import ResponseError

from shared.errors import Unavailable
from shared.estimate import ReuseCounts
from shared.store import jobs, models
from shared.store.keys import PREFIX, channel
from shared.store.script import ScriptCall, Store
from tests.support.attempt_harness import MODEL, STALL, Workbench, workbench
from tests.support.clients import until
from tests.support.redis_server import RedisServer
from tests.support.service import ROOT
from worker.celery_app import Exit
from worker.engines.echo import EchoEngine
from worker.heartbeat import Heartbeat
from worker.lease import Lease

T = TypeVar("T")
NEVER_S = 600


@pytest.fixture
def patient(redis: RedisServer) -> Iterator[Workbench]:
    """A worker whose next beat is far off: only what wakes it makes it beat."""
    with workbench(redis, renew_s=NEVER_S, lease_s=3 * NEVER_S) as desk:
        yield desk


@contextmanager
def beating(desk: Workbench) -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(desk.settings, desk.store, desk.leases, worker=desk.worker, lane=MODEL.lane)
    heartbeat.start({})
    until(lambda: dict(desk.store.client.pubsub_numsub(channel(desk.worker)))[channel(desk.worker)])
    try:
        yield heartbeat
    finally:
        ending = threading.Thread(target=heartbeat.stop, args=({},))
        ending.start()
        until(lambda: wake(desk) and not ending.is_alive())
        ending.join()


@contextmanager
def started(desk: Workbench, mark: Path | None = None, row: str | None = None) -> Iterator[Heartbeat]:
    settings = desk.settings.model_copy(update={"heartbeat_file": mark})
    heartbeat = Heartbeat(settings, desk.store, desk.leases, worker=desk.worker, lane=MODEL.lane, row=row)
    heartbeat.start({})
    try:
        yield heartbeat
    finally:
        heartbeat.stop({})


def wake(desk: Workbench) -> bool:
    desk.store.client.publish(channel(desk.worker), "state")
    return True


def lease_end(desk: Workbench, lease: Lease) -> float:
    return float(desk.store.client.zscore(f"{PREFIX}lease:{MODEL.lane}", lease.claim.id) or 0)


def test_a_claim_is_renewed_while_its_worker_lives(desk: Workbench) -> None:
    desk.ask("long")
    with desk.leases.hold(desk.claim()) as lease:
        first = lease_end(desk, lease)
        with beating(desk):
            until(lambda: lease_end(desk, lease) > first + 200)
        assert not lease.cancel.is_set()


def test_a_cancelled_run_stops_without_waiting_for_the_next_beat(patient: Workbench) -> None:
    job = patient.ask(f"{STALL} for ever")
    with beating(patient), patient.attempting():
        until(patient.leases.all)
        patient.cancel(job)
    assert patient.story(job) == ["queued", "running", "cancelled"]


def test_a_lease_found_lost_stops_its_row_only(patient: Workbench) -> None:
    lost_job, _ = patient.ask("lost"), patient.ask("kept")
    with (
        beating(patient),
        patient.leases.hold(patient.claim()) as lost,
        patient.leases.hold(patient.claim()) as kept,
    ):
        patient.cancel(lost_job)
        assert lost.cancel.wait(30)
        assert lost.reason == "lost"
        assert not kept.cancel.is_set()


def test_callers_see_a_worker_load_serve_and_leave(desk: Workbench) -> None:
    def state() -> str:
        return desk.store.run(jobs.lane(desk.settings, MODEL.lane)).state

    assert state() == "no_worker"
    with beating(desk) as heartbeat:
        assert state() == "loading"
        heartbeat.ready("f" * 32, {"rows": "4"}, desk.context.engine)
        assert state() == "ready"
        heartbeat.drain()
        until(lambda: state() == "no_worker")
    assert state() == "no_worker"


def test_a_worker_keeps_its_claims_over_an_outage_of_the_record_store(
    redis: RedisServer, desk: Workbench
) -> None:
    desk.ask("long")
    with desk.leases.hold(desk.claim()) as lease, beating(desk):
        redis.kill()
        redis.start()
        first = lease_end(desk, lease)
        until(lambda: lease_end(desk, lease) > first)
        assert not lease.cancel.is_set()


def test_one_failing_beat_does_not_cost_a_worker_its_claims(desk: Workbench) -> None:
    class Odd(Store):
        failed = threading.Event()

        def run(self, call: ScriptCall[T]) -> T:
            if call.script.name == "renew" and not self.failed.is_set():
                self.failed.set()
                raise ResponseError("MISCONF Errors writing to the AOF file")
            return super().run(call)

    desk.ask("long")
    store = Odd(desk.store.client)
    heartbeat = Heartbeat(desk.settings, store, desk.leases, worker=desk.worker, lane=MODEL.lane)
    with desk.leases.hold(desk.claim()) as lease:
        first = lease_end(desk, lease)
        heartbeat.start({})
        assert store.failed.wait(30)
        until(lambda: lease_end(desk, lease) > first)
    heartbeat.stop({})


def test_what_an_engine_reused_is_read_from_its_models_status(desk: Workbench) -> None:
    class Reusing(EchoEngine):
        reused = ReuseCounts(prompts=3, hits=2, cached_tokens=70, bytes=4096)

    def seen() -> ReuseCounts | None:
        return desk.store.run(jobs.lane(desk.settings, MODEL.lane)).reused

    with beating(desk) as heartbeat:
        heartbeat.ready("f" * 32, {"reused": ""}, EchoEngine(MODEL))
        assert seen() is None
        heartbeat.ready("f" * 32, {"reused": ""}, Reusing(MODEL))
        until(lambda: seen() == Reusing.reused)


LOST = """
import sys, threading
from types import SimpleNamespace
from shared.settings import settings
from shared.store.script import connect
from worker.heartbeat import Heartbeat
from worker.lease import Leases
heartbeat = Heartbeat(settings(), connect(settings().redis), Leases(), worker="worker_1", lane="model.x")
heartbeat.start({})
idle, broken = float(sys.argv[1]), sys.argv[2] == "broken"
engine = SimpleNamespace(rows_now=1, idle_s=lambda: idle, longest_step_s=0.1, broken=broken, reused=None)
heartbeat.ready("f", {}, engine)
threading.Event().wait(60)
"""


@pytest.mark.parametrize(
    ("engine", "code"), [(("3.0", "whole"), Exit.STALLED), (("0.0", "broken"), Exit.DEVICE_BROKEN)]
)
def test_a_worker_whose_engine_is_lost_ends_so_that_another_may_start(
    redis: RedisServer, engine: tuple[str, str], code: int
) -> None:
    env = dict(os.environ, SIGHTLINE_REDIS__URL=redis.url(), SIGHTLINE_QUEUE__STALL_S="2")
    ended = subprocess.run(
        [sys.executable, "-c", LOST, *engine], env=env, cwd=ROOT, capture_output=True, check=False
    )
    assert ended.returncode == code, ended.stderr.decode()


def test_the_runs_of_a_hung_engine_go_on_elsewhere_at_once(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = threading.Event()
    monkeypatch.setattr("worker.heartbeat.os._exit", lambda _code: left.set())
    monkeypatch.setattr("worker.watchdogs.StallDetector.stalled_s", lambda _stall, _engine: 31.0)
    job = desk.ask("long")
    with desk.leases.hold(desk.claim()), beating(desk) as heartbeat:
        heartbeat.ready("f" * 32, {}, desk.context.engine)
        assert left.wait(30)
        assert [a.outcome for a in desk.job(job).attempts] == ["engine_stalled"]
        assert desk.claim().attempt == 2


def test_a_hung_worker_leaves_at_once_where_the_store_is_out_of_reach_too(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call waits for a connection that does not come; a worker holds many runs."""
    asked = count()

    def away(_store: Store, _call: Any) -> None:
        next(asked)
        raise Unavailable("store_unavailable", "gone")

    desk.ask("one")
    desk.ask("two")
    with desk.leases.hold(desk.claim()), desk.leases.hold(desk.claim()):
        monkeypatch.setattr(Store, "run", away)
        monkeypatch.setattr("worker.heartbeat.os._exit", lambda _code: None)
        heartbeat = Heartbeat(desk.settings, desk.store, desk.leases, worker="worker_1", lane=MODEL.lane)
        heartbeat._exit_stalled()
    assert next(asked) == 1


def test_a_worker_whose_device_broke_stays_until_its_runs_are_given_back(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = threading.Event()
    monkeypatch.setattr("worker.heartbeat.os._exit", lambda _code: left.set())
    monkeypatch.setattr(type(desk.context.engine), "broken", True)
    desk.ask("long")
    with beating(desk) as heartbeat:
        with desk.leases.hold(desk.claim()) as lease:
            heartbeat.ready("f" * 32, {}, desk.context.engine)
            first = lease_end(desk, lease)
            until(lambda: lease_end(desk, lease) > first + 300)
            assert not left.is_set()
        assert left.wait(30)


def test_a_watcher_outside_sees_that_a_worker_lives_even_while_the_record_store_does_not(
    redis: RedisServer, desk: Workbench, tmp_path: Path
) -> None:
    mark = tmp_path / "heartbeat"
    with started(desk, mark):
        until(mark.exists)
        redis.kill()
        try:
            mark.unlink()
            until(mark.exists)
        finally:
            redis.start()


def test_a_worker_whose_device_broke_leaves_even_where_its_mark_cannot_be_written(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = threading.Event()
    monkeypatch.setattr("worker.heartbeat.os._exit", lambda _code: left.set())
    monkeypatch.setattr(type(desk.context.engine), "broken", True)
    with started(desk, tmp_path / "no such folder" / "mark") as heartbeat:
        heartbeat.ready("f" * 32, {}, desk.context.engine)
        assert left.wait(30)


def test_a_watcher_outside_can_tell_a_worker_that_loads_from_one_that_takes_work(
    desk: Workbench, tmp_path: Path
) -> None:
    mark = tmp_path / "heartbeat"
    with started(desk, mark) as heartbeat:
        until(lambda: mark.exists() and mark.read_text() == "loading")
        heartbeat.ready("f" * 32, {}, desk.context.engine)
        until(lambda: mark.read_text() == "ready")
        heartbeat.drain()
        until(lambda: mark.read_text() == "gone")


def test_a_worker_whose_model_was_added_anew_with_another_row_ends_once_its_runs_have(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a supervisor the next process loads what is meant."""
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    before, after = (json.dumps({"id": "org/model", "source": "org/model", "rows": rows}) for rows in (1, 2))
    desk.ask("begun before")
    desk.store.run(models.add(MODEL.lane, before))
    with started(desk, row=before) as heartbeat:
        with desk.leases.hold(desk.claim()):
            desk.store.run(models.remove(MODEL.lane))
            desk.store.run(models.add(MODEL.lane, after))
            until(lambda: heartbeat._is_outdated)
            assert not left
        until(lambda: left)
        assert set(left) == {Exit.OUTDATED}
