"""Of all threads of a worker only the engine's computes on several processors; others would slow it down."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.settings import Settings
from tests.engines import suite
from tests.engines.continuous.conftest import engine_of, loaded
from worker.engines.loading import devices


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[suite.Harness]:
    """An engine of two threads, on a machine that has them."""
    settings = Settings.model_validate({"worker": {"threads": 2}})
    monkeypatch.setattr("worker.engines.loading.loaded.settings", lambda: settings)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr("shared.cgroup.CGROUP", tmp_path)
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
    steps = processors(monkeypatch, engine_of(harness)._loop._runner, "step")
    reading = processors(monkeypatch, harness.engine, "prepare")
    caller = threading.Thread(target=harness.ask, args=(harness.question, [suite.picture()]), name="caller")
    caller.start()
    caller.join()
    assert set(steps) == {("engine", 2)}
    assert set(reading) == {("caller", 1)}
