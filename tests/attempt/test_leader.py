"""What died or got lost is repaired without anybody asking."""

import threading
import time
from types import SimpleNamespace

import pytest

from shared.metrics.series import STEP_S
from shared.settings import QueueSettings
from shared.store.keys import PREFIX
from shared.store.maintenance import lead
from shared.store.metrics import count, series
from shared.store.nudges import MOST
from tests.support.attempt_harness import MODEL, Workbench, workbench
from tests.support.clients import until
from tests.support.redis_server import RedisServer
from worker.maintenance import passes
from worker.maintenance.blob_collector import BlobCollector
from worker.maintenance.leader import MaintenanceLeader
from worker.maintenance.passes import SeriesSampler

SHORT = QueueSettings(lease_s=0.003, renew_s=0.001, rescue_s=0.02)


def leader(desk: Workbench, courier: str = "worker_courier") -> MaintenanceLeader:
    return MaintenanceLeader(desk.settings, desk.store, desk.nudger, desk.blobs, courier)


def test_a_nudge_that_got_lost_is_sent_again(desk: Workbench) -> None:
    for text in ("x", "y", "z"):
        desk.ask(text)
    assert desk.nudger.listed(MODEL.lane) == 0
    assert leader(desk).run_once()["nudged"] == 3
    assert desk.nudger.listed(MODEL.lane) == 3
    assert leader(desk).run_once()["nudged"] == 0, "nudges pile up"


def test_runs_that_come_and_go_while_nobody_works_do_not_fill_the_broker(desk: Workbench) -> None:
    desk.nudger.send(MODEL.lane, MOST)
    desk.nudger.send(MODEL.lane, 5)
    assert desk.nudger.listed(MODEL.lane) == MOST


def test_nothing_is_nudged_where_nothing_waits(desk: Workbench) -> None:
    desk.ask("x")
    desk.attempt()
    assert leader(desk).run_once() == dict.fromkeys(
        ("rescued", "due", "late", "finished", "removed", "folded", "mended", "collected", "nudged"), 0
    )


def test_the_work_of_a_lost_worker_is_given_to_another(redis: RedisServer) -> None:
    with workbench(redis, lease_s=0.003, renew_s=0.001) as desk:
        job = desk.ask("x")
        desk.claim()
        until(lambda: leader(desk).run_once()["rescued"])
        assert desk.nudger.listed(MODEL.lane) == 1
        desk.attempt()
        assert desk.job(job).status == "succeeded"
        assert [a.outcome for a in desk.job(job).attempts] == ["worker_lost", "succeeded"]


def test_an_object_store_that_hangs_holds_up_no_rescue(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, steps = threading.Event(), []

    def hangs(_: BlobCollector) -> int:
        steps.append(let_go.wait(60))
        return 3

    monkeypatch.setattr(BlobCollector, "collect", hangs)
    with workbench(redis, lease_s=0.003, renew_s=0.001) as desk:
        maintenance, job = leader(desk), desk.ask("x")
        desk.claim()
        until(lambda: maintenance.run_once()["rescued"])
        assert steps == []
        desk.attempt()
        assert desk.job(job).status == "succeeded"
        let_go.set()
        until(lambda: maintenance.run_once()["collected"] == 3)


def test_after_an_outage_of_the_record_store_workers_have_time_to_renew(redis: RedisServer) -> None:
    with workbench(redis, lease_s=0.003, renew_s=0.001) as dead, workbench(redis) as desk:
        dead.ask("x")
        run, store = dead.claim().id, desk.store.client
        until(lambda: store.zscore(f"{PREFIX}lease:{MODEL.lane}", run) < time.time() * 1000)
        store.hset(f"{PREFIX}upkeep", "watched", 1)
        assert leader(desk).run_once()["rescued"] == 0

        def rescued() -> int:
            """A pause between two rounds, as of a machine that stands still, is an outage as well."""
            store.hdel(f"{PREFIX}upkeep", "grace_till")
            return leader(desk).run_once()["rescued"]

        assert until(rescued) == 1


def test_one_courier_leads_and_another_takes_over_when_it_is_gone(redis: RedisServer) -> None:
    with workbench(redis, rescue_s=0.02) as desk:
        assert desk.store.run(lead("worker_gone", 60_000))
        assert not desk.store.run(lead("worker_next", 60_000))
        desk.store.client.pexpire(f"{PREFIX}leader", 1)
        desk.ask("x")
        next_one = leader(desk, "worker_next")
        next_one.start()
        until(lambda: desk.nudger.listed(MODEL.lane))
        next_one.stop()


def test_the_courier_that_leads_says_that_the_store_may_evict_accepted_jobs(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with workbench(redis, rescue_s=0.02) as desk:
        desk.store.client.config_set("maxmemory-policy", "allkeys-lru")
        maintenance = leader(desk)
        maintenance.start()
        try:
            until(lambda: "may evict accepted jobs" in caplog.text)
        finally:
            maintenance.stop()
            desk.store.client.config_set("maxmemory-policy", "noeviction")


def test_upkeep_goes_on_after_an_outage_of_the_record_store(redis: RedisServer) -> None:
    with workbench(redis, rescue_s=0.02) as desk:
        maintenance = leader(desk)
        maintenance.start()
        redis.kill()
        redis.start()
        desk.ask("x")
        until(lambda: desk.nudger.listed(MODEL.lane))
        maintenance.stop()


def test_an_outage_of_the_record_store_does_not_flood_the_log(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with workbench(redis) as desk, redis.refusing_writes():
        maintenance = leader(desk)
        for _ in range(3):
            maintenance.run_once()
    told = [record.message for record in caplog.records if "(rescued) waits" in record.message]
    assert told == ["maintenance (rescued) waits: The record store takes no writes now; try again."]


def test_the_leader_samples_every_model_once_in_a_step(desk: Workbench) -> None:
    desk.ask("x")
    desk.store.run(count("api", 1, [('["sightline_refusals","total","queue_full"]', 3)]))
    sampler = SeriesSampler(desk.settings, desk.store)
    assert sum(sampler.sample() for _ in range(50)) in (1, 2), "a step may end meanwhile"
    _, samples = desk.store.run(series())
    assert [one.lanes[MODEL.lane] for one in samples] == [[1, 0, 0]] * len(samples)
    assert [one.refusals for one in samples] == [{"queue_full": 3}] * len(samples)


def test_a_sample_is_taken_when_the_store_s_step_begins_whatever_the_courier_s_clock_says(
    desk: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, began = SeriesSampler(desk.settings, desk.store), time.monotonic()
    sampler.sample()
    ended = time.monotonic()
    left_s = STEP_S - desk.store.run(series())[1][0].at_ms / 1000 % STEP_S
    taken = []
    for at in (began + left_s - 0.01, ended + left_s + 0.01):
        monkeypatch.setattr(passes, "time", SimpleNamespace(monotonic=lambda at=at: at))
        taken.append(sampler.sample())
    assert taken == [0, 1]
