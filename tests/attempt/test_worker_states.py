"""What a worker says of itself is what it said last."""

import threading
from typing import TypeVar

from shared.store import jobs
from shared.store.script import Call, Store
from tests.support.workbench import MODEL, Workbench
from worker.heartbeat import Heartbeat

T = TypeVar("T")


class Late(Store):
    """Its first beat is under way until `go` is set."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.client)
        self.under_way, self.go = threading.Event(), threading.Event()

    def run(self, call: Call[T]) -> T:
        if call.script.name == "beat" and not self.under_way.is_set():
            self.under_way.set()
            assert self.go.wait(30)
        return super().run(call)


def test_a_worker_that_serves_is_not_told_to_load_by_a_beat_that_was_under_way(desk: Workbench) -> None:
    store = Late(desk.store)
    heartbeat = Heartbeat(desk.settings, store, desk.leases, worker=desk.worker, lane=MODEL.lane)
    loading = threading.Thread(target=heartbeat._say, args=({},))
    serving = threading.Thread(target=heartbeat.ready, args=("f" * 32, {}, desk.bench.engine))
    loading.start()
    assert store.under_way.wait(30)
    serving.start()
    # Where nothing holds it up, this one is through before the other.
    serving.join(0.2)
    store.go.set()
    loading.join(30)
    serving.join(30)
    assert desk.store.run(jobs.lane(desk.settings, MODEL.lane)).state == "ready"
