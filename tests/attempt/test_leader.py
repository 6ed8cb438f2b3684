"""What died or got lost is repaired without anybody asking."""

import threading
import time
from types import SimpleNamespace

import pytest

from shared.metrics.series import STEP_S
from shared.store.keys import PREFIX
from shared.store.maintenance import lead
from shared.store.metrics import series
from shared.store.nudges import MOST
from tests.support.attempt_harness import MODEL, WorkerHarness, worker_harness
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from tests.support.redis_server import RedisServer
from worker.maintenance import passes
from worker.maintenance.leader import MaintenanceLeader
from worker.maintenance.passes import BlobCollector, SeriesSampler


def leader(harness: WorkerHarness, courier: str = "worker_courier") -> MaintenanceLeader:
    return MaintenanceLeader(harness.settings, harness.store, harness.nudger, harness.blobs, courier)


def test_runs_that_come_and_go_while_nobody_works_do_not_fill_the_broker(harness: WorkerHarness) -> None:
    harness.nudger.send(MODEL.lane, MOST)
    harness.nudger.send(MODEL.lane, 5)
    assert harness.nudger.listed(MODEL.lane) == MOST


def test_a_blob_store_that_hangs_stops_no_rescue(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, steps = threading.Event(), []

    def hangs(_: BlobCollector) -> int:
        steps.append(let_go.wait(PATIENCE_S))
        return 3

    monkeypatch.setattr(BlobCollector, "collect", hangs)
    with worker_harness(redis, lease_s=0.003, renew_s=0.001) as harness:
        maintenance, job = leader(harness), harness.ask("x")
        harness.claim()
        until(lambda: maintenance.run_once()["rescued"])
        assert steps == []
        harness.attempt()
        assert harness.job(job).status == "succeeded"
        let_go.set()
        until(lambda: maintenance.run_once()["collected"] == 3)


def test_one_courier_leads_and_another_takes_over_when_it_is_gone(redis: RedisServer) -> None:
    with worker_harness(redis, lease_s=0.003, renew_s=0.001, rescue_s=0.02) as harness:
        assert harness.store.run(lead("worker_gone", 60_000))
        assert not harness.store.run(lead("worker_next", 60_000))
        harness.store.client.pexpire(f"{PREFIX}leader", 1)
        harness.ask("x")
        harness.claim()
        next_one = leader(harness, "worker_next")
        next_one.start()
        until(lambda: harness.nudger.listed(MODEL.lane))
        next_one.stop()


def test_upkeep_goes_on_after_an_outage_of_the_record_store(redis: RedisServer) -> None:
    with worker_harness(redis, lease_s=0.003, renew_s=0.001, rescue_s=0.02) as harness:
        maintenance = leader(harness)
        maintenance.start()
        redis.kill()
        redis.start()
        harness.ask("x")
        harness.claim()
        until(lambda: harness.nudger.listed(MODEL.lane))
        maintenance.stop()


def test_an_outage_of_the_record_store_does_not_flood_the_log(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with worker_harness(redis) as harness, redis.refusing_writes():
        maintenance = leader(harness)
        for _ in range(3):
            maintenance.run_once()
    told = [record.message for record in caplog.records if "(rescued) waits" in record.message]
    assert told == ["maintenance (rescued) waits: The record store takes no writes now; try again."]


def test_a_sample_is_taken_when_the_store_s_step_begins_whatever_the_courier_s_clock_says(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, began = SeriesSampler(harness.settings, harness.store), time.monotonic()
    sampler.sample()
    ended = time.monotonic()
    left_s = STEP_S - harness.store.run(series())[1][0].at_ms / 1000 % STEP_S
    taken = []
    for at in (began + left_s - 0.01, ended + left_s + 0.01):
        monkeypatch.setattr(passes, "time", SimpleNamespace(monotonic=lambda at=at: at))
        taken.append(sampler.sample())
    assert taken == [0, 1]
