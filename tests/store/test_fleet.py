"""Who looks at the fleet sees what waits, since when, and who works; nothing that has gone."""

from shared.estimate import LastWorker
from shared.store.claims import give_back
from shared.store.jobs import lane
from shared.store.models import change
from shared.store.workers import fleet
from tests.support.store import LANE, Records


def test_the_line_is_counted_by_class_and_says_since_when_its_oldest_waits(records: Records) -> None:
    first = records.submit(priority="batch")
    records.wait(5)
    records.submit(priority="interactive")
    records.submit(priority="batch")
    (seen,) = records.run(fleet(records.settings, [LANE]))
    assert seen.waiting == {"interactive": 1, "normal": 0, "batch": 2}
    assert seen.oldest_ms == first.created_ms


def test_the_oldest_that_waits_may_be_what_two_workers_died_on(records: Records) -> None:
    first = records.submit()
    for _ in range(2):
        records.claim()
        records.lose_worker()
    (seen,) = records.run(fleet(records.settings, [LANE]))
    assert records.lane_state()["x2"] == 1
    assert (seen.waiting["normal"], seen.oldest_ms) == (1, first.created_ms)


def test_a_worker_is_seen_with_what_it_says_until_it_goes(records: Records) -> None:
    said = {"host": "gpu-3", "pid": "7", "since": "1.5", "rows": "16", "busy": "3", "memory": "1024"}
    said |= {"tokens_per_s": "12.5", "fingerprint": "f1"}
    records.beat(worker="worker_01", record=said)
    records.beat(worker="worker_02", state="loading")
    (seen,) = records.run(fleet(records.settings, [LANE]))
    records.beat(worker="worker_01", state="gone")
    (left,) = records.run(fleet(records.settings, [LANE]))
    ready, loading = seen.workers
    assert (ready.host, ready.pid, ready.rows, ready.busy, ready.memory) == ("gpu-3", 7, 16, 3, 1024)
    assert (ready.tokens_per_s, loading.tokens_per_s) == (12.5, 0.0)
    assert (ready.fingerprint, loading.fingerprint) == ("f1", "")
    assert (loading.id, loading.state, loading.rows) == ("worker_02", "loading", 0)
    assert [worker.id for worker in left.workers] == ["worker_02"]


def test_who_paused_or_drains_a_model_since_when_is_seen_until_it_is_resumed(records: Records) -> None:
    paused_at = records.now
    records.run(change(LANE, "pause", operator="Ada"))
    records.wait(5)
    records.run(change(LANE, "pause", operator="Ada"))
    records.drain()
    lane = records.run(fleet(records.settings, [LANE]))[0].lane
    records.pause(paused=False)
    resumed = records.run(fleet(records.settings, [LANE]))[0].lane
    assert (lane.paused_at_ms, lane.paused_by) == (paused_at, "Ada"), "the first pause counts"
    assert (lane.draining_at_ms, lane.draining_by) == (records.now, None)
    assert (resumed.paused_at_ms, resumed.paused_by, resumed.draining_at_ms) == (None, None, None)


def test_the_last_worker_is_remembered_once_there_is_none(records: Records) -> None:
    assert records.run(fleet(records.settings, [LANE]))[0].lane.last_worker is None
    seen_ms = records.now
    records.beat(record={"host": "gpu-3"})
    records.wait(3600)
    (seen,) = records.run(fleet(records.settings, [LANE]))
    assert (seen.lane.state, seen.workers) == ("no_worker", ())
    assert seen.lane.last_worker == LastWorker("worker_01", "gpu-3", seen_ms)


def test_runs_of_workers_that_vanished_are_counted_for_a_quarter_of_an_hour(records: Records) -> None:
    for _ in range(2):
        records.submit()
        records.claim()
    assert len(records.lose_worker()) == 2
    lost = [seen.given_back for seen in records.run(fleet(records.settings, [LANE]))]
    records.wait(901)
    assert (lost, records.run(fleet(records.settings, [LANE]))[0].given_back) == ([2], 0)


def test_a_model_is_not_taken_for_full_because_one_of_its_workers_is_small(records: Records) -> None:
    def beat(worker: str, rows: str) -> None:
        records.beat(worker=worker, facts={"rows": rows}, record={"rows": rows})

    beat("worker_01", "64")
    for _ in range(2):
        beat("worker_02", "4")
        beat("worker_01", "64")
    assert records.run(lane(records.settings, LANE)).rows == (64 + 4) / 2
    records.beat(worker="worker_02", state="gone")
    beat("worker_01", "64")
    assert records.run(lane(records.settings, LANE)).rows == 64


def test_work_given_back_by_a_worker_that_broke_is_counted_for_its_operator(records: Records) -> None:
    records.submit()
    records.run(give_back(records.settings, records.claim(), reason="device_broken", error=None, died=True))
    (seen,) = records.run(fleet(records.settings, [LANE]))
    assert seen.given_back == 1
