"""The cache: an answer is given again to the same question, to the same caller, from the same model alone."""

import pytest

from shared.store.workers import State
from tests.support.store import OTHER_PRINT, PRINT, SETTINGS, Records


@pytest.fixture
def answered(records: Records) -> Records:
    """`q` was answered under PRINT, whose worker lives."""
    records.beat()
    _, claim = records.started("q")
    records.append(claim, 0, "A red square.")
    records.settle(claim)
    return records


GONE_S = SETTINGS.queue.worker_ttl_s + 60
Beats = list[tuple[float, str, str, State]]
"""Each after so long: a worker, its model's print, and what it says."""


@pytest.mark.parametrize(
    ("beats", "wait_s", "cache"),
    [
        ([(GONE_S, "worker_02", OTHER_PRINT, "ready")], 0, "MISS"),
        ([(0, "worker_02", OTHER_PRINT, "ready")], 0, "HIT"),
        ([], GONE_S, "HIT"),
        ([(1, "worker_02", OTHER_PRINT, "ready")], GONE_S, "MISS"),
        ([], 86_401, "MISS"),
        ([(0, "worker_02", OTHER_PRINT, "ready"), (0, "worker_01", PRINT, "gone")], 0, "MISS"),
    ],
    ids=["another lives", "both live", "none lives", "another lived last", "a day ago", "it has left"],
)
def test_answers_of_models_that_live_count_and_with_none_those_of_the_last(
    answered: Records, beats: Beats, wait_s: float, cache: str
) -> None:
    answered.change(answered.submit("q").run_id, kept=answered.now + 10**9)
    for after_s, worker, fingerprint, state in beats:
        answered.wait(after_s)
        answered.beat(worker=worker, fingerprint=fingerprint, state=state)
    answered.wait(wait_s)
    assert answered.submit("q").cache == cache


def test_an_answer_counts_under_the_model_that_gave_it_not_the_one_that_lives(records: Records) -> None:
    records.beat(fingerprint=OTHER_PRINT)
    records.submit("q")
    records.settle(records.claim(fingerprint=PRINT), fingerprint=PRINT)
    assert records.submit("q").cache == "MISS"


def test_answer_of_two_models_is_not_cached(records: Records) -> None:
    records.beat(fingerprint=PRINT)
    records.beat(worker="worker_02", fingerprint=OTHER_PRINT)
    job = records.submit("q").id
    records.append(records.claim(fingerprint=PRINT), 0, "half")
    assert records.story(job)[-1] == "text"
    records.lose_worker()
    second = records.claim(fingerprint=OTHER_PRINT)
    assert (second.mixed, second.published) == (True, 4)
    records.settle(second, fingerprint=OTHER_PRINT)
    records.beat(worker="worker_02", fingerprint=OTHER_PRINT)
    assert records.submit("q").cache == "MISS"


def test_hit_keeps_the_answer_as_long_as_a_new_one(answered: Records) -> None:
    leader = answered.submit("q").run_id
    [entry] = answered.client.keys("sl9:cache:*")
    answered.client.expire(entry, 50)
    answered.wait(2)
    answered.submit("q")
    assert answered.kept(leader) == SETTINGS.retention.result_s
    assert answered.client.ttl(entry) == answered.given(SETTINGS.retention.result_s)
