"""The cache: an answer is given again to the same question, to the same caller, from the same model alone."""

import pytest

from shared.store.workers import State
from tests.support.existing import existing
from tests.support.store import BROKEN, LANE, OTHER_PRINT, PRINT, SETTINGS, Records


@pytest.fixture
def answered(records: Records) -> Records:
    """`q` was answered under PRINT, whose worker lives."""
    records.beat()
    _, claim = records.started("q")
    records.append(claim, 0, "A red square.")
    records.settle(claim)
    return records


def test_an_answered_question_is_answered_at_once(answered: Records) -> None:
    submitted = answered.post(answered.placing("q"))
    assert submitted.word == "known"
    view = existing(submitted.view)
    assert (view.status, view.cache, view.ended_ms) == ("succeeded", "HIT", answered.now)
    assert view.result is not None
    assert view.result.text == "A red square."
    assert answered.story(view.id) == ["queued", "running", "text", "succeeded"]
    assert answered.client.zcard(f"sl9:queue:{LANE}") == 0


def test_a_failed_answer_is_not_given_again(records: Records) -> None:
    records.beat()
    records.answered("q", BROKEN)
    assert records.submit("q").cache == "MISS"


def test_another_caller_never_gets_it(answered: Records) -> None:
    assert answered.submit("q", caller="someone").cache == "MISS"


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


def test_an_answer_begun_by_one_model_and_ended_by_another_is_nobody_s(records: Records) -> None:
    records.beat(fingerprint=PRINT)
    records.beat(worker="worker_02", fingerprint=OTHER_PRINT)
    job = records.submit("q").id
    first = records.claim(fingerprint=PRINT)
    records.append(first, 0, "half")
    assert records.story(job)[-1] == "text"
    records.lose_worker()
    second = records.claim(fingerprint=OTHER_PRINT)
    assert (second.mixed, second.published, second.attempt) == (True, 4, 2)
    records.settle(second, fingerprint=OTHER_PRINT)
    records.beat(fingerprint=PRINT)
    records.beat(worker="worker_02", fingerprint=OTHER_PRINT)
    assert records.submit("q").cache == "MISS"


def test_a_return_to_the_first_model_does_not_unmix_an_answer(records: Records) -> None:
    job = records.submit("q").id
    records.append(records.claim(fingerprint=PRINT), 0, "half")
    assert records.story(job)[-1] == "text"
    for fingerprint in (OTHER_PRINT, PRINT):
        records.lose_worker()
        claim = records.claim(fingerprint=fingerprint)
        assert claim.mixed


def test_a_new_model_that_starts_afresh_mixes_nothing(records: Records) -> None:
    records.beat(fingerprint=OTHER_PRINT)
    records.submit("q")
    records.claim(fingerprint=PRINT)
    records.lose_worker()
    second = records.claim(fingerprint=OTHER_PRINT)
    assert not second.mixed
    records.settle(second, fingerprint=OTHER_PRINT)
    records.beat(fingerprint=OTHER_PRINT)
    assert records.submit("q").cache == "HIT"


def test_a_hit_keeps_the_answer_for_as_long_as_a_new_one(answered: Records) -> None:
    leader = answered.submit("q").run_id
    [entry] = answered.client.keys("sl9:cache:*")
    followers, kept = f"sl9:{leader}:followers", [f"sl9:{leader}:events", entry]
    for key in (f"sl9:{leader}", followers, *kept):
        answered.client.expire(key, 50)
    answered.wait(2)
    answered.submit("q")
    assert answered.kept(leader) == SETTINGS.retention.result_s
    assert [answered.client.ttl(key) for key in kept] == [answered.given(SETTINGS.retention.result_s)] * 2
    # Whoever deletes one of its jobs must find the others for as long as the log of ends reads it.
    assert answered.client.ttl(followers) == answered.client.ttl(f"sl9:{leader}") > 50


def test_a_hit_does_not_shorten_a_longer_life(answered: Records) -> None:
    run = answered.submit("q").run_id
    answered.change(run, kept=answered.now + 5_000_000)
    answered.submit("q")
    assert answered.kept(run) == 5000


def test_an_answer_no_longer_kept_is_computed_again(answered: Records) -> None:
    run = answered.submit("q").run_id
    answered.client.delete(f"sl9:{run}")
    assert answered.submit("q").cache == "MISS"


def test_a_hit_waits_for_no_worker(answered: Records) -> None:
    answered.wait(SETTINGS.queue.worker_ttl_s + 1)
    assert answered.post(answered.placing("q"), must_be_ready=True).word == "known"
