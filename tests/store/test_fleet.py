"""Who looks at the fleet sees what waits, since when, and who works; nothing that has gone."""

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


def test_nobody_waits_and_nobody_works(records: Records) -> None:
    (seen,) = records.run(fleet(records.settings, [LANE]))

    assert (sum(seen.waiting.values()), seen.oldest_ms, seen.workers) == (0, None, ())


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
