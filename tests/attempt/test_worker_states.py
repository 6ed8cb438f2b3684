"""What a worker says of itself is what it said last."""

import os
import threading
import time
from typing import NoReturn, TypeVar

import pytest

from shared.errors import ModelFailed, Unavailable
from shared.estimate import Lane
from shared.models import Model
from shared.store import jobs
from shared.store.keys import PREFIX
from shared.store.script import ScriptCall, Store
from shared.store.workers import fleet as lanes
from tests.support.attempt_harness import MODEL, WorkerHarness
from tests.support.patience import PATIENCE_S
from worker.engines.base import Engine
from worker.engines.echo import EchoEngine
from worker.model_worker import _load

T = TypeVar("T")


class Late(Store):
    """Its first beat is under way until `go` is set."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.client)
        self.under_way, self.go = threading.Event(), threading.Event()

    def run(self, call: ScriptCall[T]) -> T:
        if call.function == "beat" and not self.under_way.is_set():
            self.under_way.set()
            assert self.go.wait(PATIENCE_S)
        return super().run(call)


def test_a_worker_that_serves_is_not_told_to_load_by_a_beat_under_way(harness: WorkerHarness) -> None:
    store = Late(harness.store)
    heartbeat = harness.heartbeat(store)
    loading = threading.Thread(target=heartbeat.report, args=({},))
    serving = threading.Thread(target=heartbeat.ready, args=("f" * 32, {}, harness.context.engine))
    loading.start()
    assert store.under_way.wait(PATIENCE_S)
    serving.start()
    # Where nothing holds it up, this one is through before the other.
    serving.join(0.2)
    store.go.set()
    loading.join(PATIENCE_S)
    serving.join(PATIENCE_S)
    assert harness.store.run(jobs.lane(harness.settings, MODEL.lane)).state == "ready"


def test_a_store_that_came_back_empty_is_told_again_what_a_model_can(harness: WorkerHarness) -> None:
    heartbeat = harness.heartbeat()
    facts = {"rows": "4", "context_length": "2048", "engine": "echo"}
    heartbeat.ready("f" * 32, facts, harness.context.engine)
    harness.store.client.flushdb()
    for _ in range(2):
        heartbeat._report_progress()
    assert harness.store.client.hgetall(f"{PREFIX}lane:{MODEL.lane}").items() >= facts.items()


@pytest.mark.parametrize("wrong_s", [-3600, 3600])
def test_callers_hear_how_a_load_goes_from_a_worker_whose_clock_is_wrong(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, wrong_s: float
) -> None:
    model = Model(id="test/other", engine="echo")
    heartbeat = harness.heartbeat(model=model, worker="worker_02")
    a_minute_ago = (harness.store.client.time()[0] - 60) * 1000
    seen, clock, load = list[Lane](), time.time, EchoEngine.load

    def looked(engine: EchoEngine) -> Engine:
        seen.append(harness.store.run(jobs.lane(harness.settings, model.lane)))
        return load(engine)

    monkeypatch.setattr("time.time", lambda: clock() + wrong_s)
    monkeypatch.setattr(EchoEngine, "load", looked)
    _load(model, heartbeat, threads=1, max_side=64)
    heartbeat.stop({})
    (lane,) = seen
    assert lane.state == "loading"
    assert a_minute_ago < (lane.load_started_ms or 0) <= lane.now_ms


@pytest.mark.parametrize(("cause", "traced"), [(None, False), (KeyError("vision_tower"), True)])
def test_an_operator_s_mistake_in_a_row_is_one_line_of_the_log_and_what_nobody_foresaw_is_traced(
    harness: WorkerHarness,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cause: Exception | None,
    traced: bool,
) -> None:
    def load(_: EchoEngine) -> Engine:
        raise ModelFailed("the source '/srv/secret/no-such' is no folder") from cause

    def ended(code: int) -> NoReturn:
        raise SystemExit(code)

    monkeypatch.setattr(EchoEngine, "load", load)
    monkeypatch.setattr(os, "_exit", ended)
    heartbeat = harness.heartbeat(worker="w")
    with pytest.raises(SystemExit, match="71"):
        _load(MODEL, heartbeat, threads=1, max_side=64)
    (said,) = (record for record in caplog.records if record.name == "worker")
    assert ("'/srv/secret/no-such' is no folder" in said.message, bool(said.exc_info)) == (True, traced)
    callers = harness.store.run(jobs.lane(harness.settings, MODEL.lane)).failed
    assert callers == "ModelFailed: the source '…/no-such' is no folder"


@pytest.mark.parametrize(("rows", "slots"), [(4, 6), (1, 3)])
def test_work_that_an_engine_cannot_take_is_left_to_other_workers(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, rows: int, slots: int
) -> None:
    """The threads were counted before it was known that requests go one by one."""
    model = Model(id="test/other", engine="echo", rows=4)
    load = EchoEngine.load

    def fallen(engine: EchoEngine) -> Engine:
        engine.rows = rows
        return load(engine)

    monkeypatch.setattr(EchoEngine, "load", fallen)
    heartbeat = harness.heartbeat(model=model, worker="worker_02")
    _, found = _load(model, heartbeat, threads=6, max_side=64)
    heartbeat.stop({})
    assert found == harness.store.run(jobs.lane(harness.settings, model.lane)).slots == slots


class Cut(Store):
    """Out of reach while `away`."""

    away = False

    def run(self, call: ScriptCall[T]) -> T:
        if self.away:
            raise Unavailable("store_unavailable", "The record store is away.")
        return super().run(call)


def test_estimates_and_operators_follow_the_rows_that_memory_is_left_for(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the store was away as they changed, or lost what was said of the model."""
    store = Cut(harness.store.client)
    heartbeat = harness.heartbeat(store)
    heartbeat.ready("f" * 32, {"rows": "4", "slots": "6"}, harness.context.engine)

    def told() -> tuple[float, float, int]:
        heartbeat._report_progress()
        lane = harness.store.run(jobs.lane(harness.settings, MODEL.lane))
        (fleet,) = harness.store.run(lanes(harness.settings, [MODEL.lane]))
        return lane.rows, lane.slots, fleet.workers[0].rows

    assert told() == (4, 6, 4)
    monkeypatch.setattr(EchoEngine, "rows_now", 1)
    store.away = True
    assert told() == (4, 6, 4)
    store.away = False
    assert told() == (1, 3, 1)
    harness.store.client.flushdb()
    heartbeat._report_progress()
    assert told() == (1, 3, 1)
    monkeypatch.setattr(EchoEngine, "rows_now", 4)
    assert told() == (4, 6, 4)
    leaving = harness.heartbeat(store, worker="leaving")
    leaving.stop({"rows": "1", "slots": "3"})
    assert told() == (4, 6, 4), "the few rows of a worker that left short of memory are the model's for good"
