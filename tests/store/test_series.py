"""Samples of the last minutes, for charts: as many as they show, whatever happens."""

from shared.store.metrics import sample, series
from tests.support.store import LANE, Records


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
    assert 0 < records.client.ttl("sl5:series") <= 900


def test_a_sample_holds_a_hundred_models_at_most(records: Records) -> None:
    for number in range(120):
        records.client.sadd("sl5:lanes", f"model.{number}")
    records.run(sample(records.settings, {str(number): [] for number in range(120)}, {}))
    (one,) = records.run(series())[1]
    assert (len(one.lanes), len(one.counts)) == (100, 100)
