"""Samples of the last minutes, for charts: as many as they show, whatever happens."""

import pytest

from shared.models import Model
from shared.store.metrics import sample, series
from sightline.doctor import running, workers
from tests.support.store import LANE, MODEL, Records


def test_a_sample_says_what_waits_runs_and_works(records: Records) -> None:
    records.beat()
    for _ in range(3):
        records.submit()
    records.claim()
    records.run(sample(records.settings, {"m": [1.0, 0.1]}, {"queue_full": 3.0}))
    now_ms, (one,) = records.run(series())

    assert (now_ms, one.at_ms) == (records.now, records.now)
    assert (one.lanes[LANE], one.counts) == ([2, 1, 1], {"m": [1.0, 0.1]})
    assert one.refusals == {"queue_full": 3}


def test_only_samples_that_are_shown_are_kept(records: Records) -> None:
    for _ in range(100):
        records.wait(10)
        records.run(sample(records.settings, {}, {}))
    now_ms, kept = records.run(series())

    assert len(kept) == 91
    assert kept[-1].at_ms == now_ms
    assert 0 < records.client.ttl("sl8:series") <= 900


def test_a_sample_holds_a_hundred_models_at_most(records: Records) -> None:
    for number in range(120):
        records.client.sadd("sl8:lanes", f"model.{number}")
    records.run(sample(records.settings, {str(number): [] for number in range(120)}, {}))
    (one,) = records.run(series())[1]
    assert (len(one.lanes), len(one.counts)) == (100, 100)


def test_jobs_of_a_model_that_left_the_models_file_are_named(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody serves them, and no page or metric of a model has them."""
    # Under the clock of the test.
    monkeypatch.setattr(running, "from_store", lambda _, ask: ask(records))
    file = [Model(id=MODEL, engine="echo"), Model(id="org/other", engine="echo")]
    for question in "ab":
        records.submit(question)
    assert running.unnamed_queues(records.settings, file[1:]) == {}, "before a courier has counted"
    records.run(sample(records.settings, {}, {}))

    assert running.unnamed_queues(records.settings, file) == {}
    queues = running.unnamed_queues(records.settings, file[1:])
    (found,) = workers.check_unnamed(queues)
    assert (queues, found.about, found.state) == ({LANE: 2}, f"queue {LANE}", "problem")
    records.beat(state="loading", record={"host": "gpu-3"})
    assert running.unnamed_queues(records.settings, file[1:]) == {}, "another machine's file may name it"
    records.beat(state="gone")
    assert running.unnamed_queues(records.settings, file[1:]) == {LANE: 2}
    records.remove_model()
    assert running.unnamed_queues(records.settings, file[1:]) == {}, "they end by themselves"
