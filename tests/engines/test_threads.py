"""Of all threads of a worker only the engine's computes on several processors; others would slow it down."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.settings import Settings
from tests.engines import suite
from tests.engines.continuous.conftest import engine_of, loaded, tiny
from tests.support.clients import until
from worker.engines.continuous import engine
from worker.engines.continuous.verify.batching import Certificate, verify
from worker.engines.loading import devices
from worker.engines.loading.loaded import LoadedModel

TASKS = Path("/proc/self/task")


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return verify(LoadedModel(tiny()))


@pytest.fixture
def harness(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Certificate
) -> Iterator[suite.Harness]:
    """An engine of two threads, on a machine that has them. Its trial is one sum, shared by both."""
    settings = Settings.model_validate({"worker": {"threads": 2}})
    monkeypatch.setattr("worker.engines.loading.loaded.settings", lambda: settings)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr("shared.cgroup.CGROUP", tmp_path)
    monkeypatch.setattr(engine, "verify", lambda *_, **__: torch.ones(10**6).exp().sum() and certificate)
    yield loaded()
    devices.compute_on(1)


def processors(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple[str, int]]:
    """For each call of a method from now on: its thread, and on how many processors that thread computes."""
    seen: list[tuple[str, int]] = []
    method = getattr(owner, name)

    def watched(*args: Any, **named: Any) -> Any:
        found = method(*args, **named)
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return found

    monkeypatch.setattr(owner, name, watched)
    return seen


def test_an_answer_s_steps_get_every_processor_and_the_reading_of_a_request_takes_none_away(
    harness: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = processors(monkeypatch, engine_of(harness)._loop._running, "step")
    reading = processors(monkeypatch, harness.engine, "prepare")
    caller = threading.Thread(target=harness.ask, args=(harness.question, [suite.picture()]), name="caller")
    caller.start()
    caller.join()
    assert set(steps) == {("engine", 2)}
    assert set(reading) == {("caller", 1)}


@pytest.mark.skipif(not TASKS.exists(), reason="counts threads as Linux tells them")
@pytest.mark.usefixtures("harness")
def test_loading_a_model_leaves_no_helpers_behind_that_an_answer_s_steps_would_wait_for() -> None:
    """Those of torch have no name in Python: the system is asked. The first engine started what stays."""
    before = set(TASKS.iterdir())
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(loaded).result()
        # One loads, and the engine's has not computed yet. What has ended is listed a moment longer.
        until(lambda: len(set(TASKS.iterdir()) - before) == 2)
    assert second.engine.rows
