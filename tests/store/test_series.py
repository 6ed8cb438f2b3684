"""Samples of the last minutes, for charts: as many as they show, whatever happens."""

import pytest

from shared.metrics.series import Sample
from shared.store.metrics import refuse, sample, series
from tests.support.store import BROKEN, LANE, Records


def test_a_sample_says_what_waits_runs_and_works(records: Records) -> None:
    records.beat(record={"tokens_per_s": "10.5"})
    for _ in range(3):
        records.submit()
    records.claim()
    records.run(refuse("one", {"queue_full": 3, "no_worker": 1}))
    records.run(refuse("two", {"queue_full": 1}))
    records.run(refuse("two", {"queue_full": 1}))
    records.run(sample(records.settings))
    now_ms, (one,) = records.run(series())

    assert (now_ms, one.at_ms) == (records.now, records.now)
    stands = {"waiting": 2, "running": 1, "workers": 1, "tokens_per_s": 10.5}
    assert one.lanes[LANE].items() >= stands.items()
    assert one.refusals == {"queue_full": 4, "no_worker": 1}


def next_sample(records: Records) -> Sample:
    records.wait(10)
    records.run(sample(records.settings))
    return records.run(series())[1][-1]


def test_what_runs_did_is_sampled_once(records: Records) -> None:
    for question in "abc":
        records.submit(question)
    records.settle(records.claim())
    records.settle(records.claim(), BROKEN)
    records.give_back(records.claim())
    first, second = next_sample(records).lanes[LANE], next_sample(records).lanes[LANE]

    assert (first["succeeded"], first["failed"]) == (1, 1)
    assert (second["succeeded"], second["failed"]) == (0, 0)
    assert "wait_p95_s" not in second, "a second attempt is no wait in line"


def test_nineteen_of_twenty_waits_were_as_short(records: Records) -> None:
    for number in range(20):
        records.submit(str(number))
    records.wait(0.005)
    for _ in range(18):
        records.claim()
    records.wait(3)
    records.claim()
    records.claim()

    # Half way from 2048 to 4096 ms.
    assert next_sample(records).lanes[LANE]["wait_p95_s"] == 3.072
    assert "wait_p95_s" not in next_sample(records).lanes[LANE]


def test_a_pause_is_no_part_of_the_time_that_a_job_waited(records: Records) -> None:
    records.submit()
    records.wait(1)
    records.pause()
    records.wait(3600)
    records.pause(paused=False)
    records.claim()
    assert next_sample(records).lanes[LANE]["wait_p95_s"] == pytest.approx(1.0, rel=0.1)


def test_a_step_has_one_sample_and_the_next_one_has_what_came_after(records: Records) -> None:
    assert next_sample(records).refusals == {}
    records.run(refuse("one", {"queue_full": 3}))
    records.run(sample(records.settings))

    assert records.run(series())[1][-1].refusals == {}
    assert next_sample(records).refusals == {"queue_full": 3}


def test_only_samples_that_are_shown_are_kept(records: Records) -> None:
    for _ in range(100):
        next_sample(records)
    now_ms, kept = records.run(series())

    assert len(kept) == 91
    assert kept[-1].at_ms == now_ms
    assert 0 < records.client.ttl("sl9:samples") <= 900


def test_a_sample_holds_a_hundred_models_at_most(records: Records) -> None:
    for number in range(120):
        records.client.sadd("sl9:lanes", f"model.{number}")
    assert len(next_sample(records).lanes) == 100
