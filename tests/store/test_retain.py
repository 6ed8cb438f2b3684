"""What a key says of how long its caller's things are kept: for less or for longer than the settings say."""

from dataclasses import replace

import pytest

from shared.batch import LineProblem
from shared.job import JobView
from shared.store import admission, batches
from shared.store.headroom import holding
from tests.support.hooks import HOOK, taken
from tests.support.store import Records
from tests.support.stored_batches import BATCH, create, take, upload

SETTINGS_RESULT_S, SETTINGS_JOB_S = 100, 1000
PICTURE = "d" * 64


def ask(records: Records, question: str = "", *, retain_s: int | None, caller: str = "anyone") -> JobView:
    placing = records.placing(question, caller=caller, key=f"everybody:{question}", blobs=(PICTURE,))
    records.upload(placing)
    return records.accept(placing, uploaded=True, retain_s=retain_s)


def left(records: Records, name: str) -> float:
    return records.life(name) if name[:4] in ("job_", "run_") and ":" not in name else ttl(records, name)


def ttl(records: Records, name: str) -> float:
    return float(records.client.ttl(f"sl9:{name}"))


@pytest.mark.parametrize("retain_s", [30, 5000])
def test_a_job_and_all_of_its_run_are_kept_for_that_long(records: Records, retain_s: int) -> None:
    records.beat()
    job = ask(records, "what", retain_s=retain_s)
    claim = records.claim()
    records.append(claim, 0, "text")
    records.settle(claim)
    of_job = [f"{job.id}", f"cache:everybody:what:{'a' * 32}"]
    of_run = [
        claim.id,
        f"{claim.id}:events",
    ]
    assert {name: left(records, name) for name in of_job + of_run} == {
        name: records.given(retain_s) for name in of_job + of_run
    }
    assert records.client.zscore(f"sl9:blob:{PICTURE}", claim.id) == records.now + retain_s * 1000
    assert left(records, "jobs:anyone") > retain_s, "its list names it for as long"


def test_a_list_names_what_one_key_keeps_for_long_whatever_comes_by_another(records: Records) -> None:
    settings_life_s = SETTINGS_JOB_S + 32 * 86_400
    long = records.accept(records.placing(), metadata={"shop": "7"}, retain_s=3 * settings_life_s)
    records.wait((settings_life_s + 1) * 1000)
    short = records.accept(records.placing(), metadata={"shop": "7"})
    for metadata in ({}, {"shop": "7"}):
        page = records.listed(metadata=metadata)
        assert [view.id for view in page.views] == [short.id, long.id]
    (pair,) = (name for name in records.key_names() if name.startswith("sl9:pair:"))
    for name in ("jobs:anyone", pair.removeprefix("sl9:")):
        assert left(records, name) > 3 * settings_life_s


def test_behind_what_lives_long_a_list_does_not_grow_by_what_is_gone(records: Records) -> None:
    for _ in range(2):
        records.submit()
    for _ in range(100):
        records.wait(1)
        records.client.delete(f"sl9:{records.submit().id}")
    for _ in range(200):
        records.wait(1)
        records.submit()
    assert records.client.zcard("sl9:jobs:anyone") < 2 + 20 + 200


def held(records: Records, caller: str) -> int:
    records.fold()
    return records.run(holding(caller))


def test_what_a_caller_holds_is_counted_until_it_is_kept_no_longer(records: Records) -> None:
    held(records, "anyone")
    ask(records, retain_s=7200)
    waiting = held(records, "anyone")
    assert waiting > admission.ROOM
    records.settle(records.claim())
    ended = held(records, "anyone")
    assert 0 < ended < waiting
    records.wait(7200)
    assert (held(records, "anyone"), held(records, "other")) == (ended, 0)
    records.wait(2 * 3600)
    assert held(records, "anyone") == 0


def test_the_answer_of_a_job_that_is_kept_for_longer_counts_no_longer_than_it_is_there(
    records: Records,
) -> None:
    kept = records.settings.retention.model_copy(update={"job_s": 86_400})
    records.settings = records.settings.model_copy(update={"retention": kept})
    ask(records, retain_s=None)
    records.settle(records.claim())
    both = held(records, "anyone")
    records.wait(SETTINGS_RESULT_S + 2 * 3600)
    assert 0 < held(records, "anyone") < both


@pytest.mark.parametrize("ended", [False, True])
def test_what_a_caller_deletes_is_held_no_more(records: Records, *, ended: bool) -> None:
    stays = ask(records, "stays", retain_s=None)
    held_before = held(records, "anyone")
    job = ask(records, "goes", retain_s=None)
    if ended:
        records.claim()
        records.settle(records.claim())
    for _ in range(2):
        records.purge(job.id)
    assert held(records, "anyone") == held_before
    records.purge(stays.id)
    assert held(records, "anyone") == 0
    assert not [name for name in records.key_names() if name.startswith(("sl9:keep:", "sl9:mem"))]


def test_a_large_run_is_held_by_its_caller_until_the_last_of_its_jobs_is_deleted(records: Records) -> None:
    """Else who asks twice and deletes the first fills the store uncounted."""
    records.beat()
    first = ask(records, "x" * 100_000, retain_s=None)
    records.settle(records.claim())
    alone = held(records, "anyone")
    hit = ask(records, "x" * 100_000, retain_s=None)
    assert hit.cache == "HIT"
    assert held(records, "anyone") - alone < 2000
    records.purge(first.id)
    assert held(records, "anyone") > 100_000
    records.purge(hit.id)
    assert held(records, "anyone") == 0


def test_a_job_that_never_got_a_run_is_kept_for_that_long_as_well(records: Records) -> None:
    placing = records.placing(key=None)
    view = records.accept(placing, pending_terms='{"reuse":true}', retain_s=30)
    records.fail_intake(records.claim_pending())
    assert left(records, view.id) == records.given(30)
    assert left(records, f"{view.id}:asked") == records.given(30)


def test_a_batchs_webhook_goes_with_the_batch(records: Records) -> None:
    upload(records)
    create(records, retain_s=30, hook=replace(HOOK, events=("batch.failed",)))
    records.run(batches.fail(records.settings, take(records), [LineProblem("empty_file", "m")]))
    records.tell(taken(records), 500, error="no", delay_s=60)
    assert 0 < left(records, f"{BATCH}:hook") <= 30
    assert 0 < left(records, f"{BATCH}:deliveries") <= 30


def test_an_answer_that_a_webhook_needs_is_charged(records: Records) -> None:
    records.beat()
    job = records.accept(records.placing(), webhook=HOOK)
    records.settle(records.claim())
    records.beat()
    records.wait(SETTINGS_RESULT_S + 2 * 3600)
    records.fold()
    assert records.client.exists(f"sl9:{job.run_id}")
    assert held(records, "anyone") > 0


def test_an_answer_that_a_later_hit_keeps_is_charged_until_it_goes(records: Records) -> None:
    records.beat()
    ask(records, "same", retain_s=None)
    records.settle(records.claim())
    assert ask(records, "same", retain_s=30 * 86_400, caller="other").cache == "HIT"
    records.wait(20 * 86_400)
    assert held(records, "anyone") > 0, "its first caller's job is gone by now"
    records.wait(11 * 86_400)
    assert held(records, "anyone") == 0


def test_what_went_while_nobody_counted_for_months_is_charged_to_nobody(records: Records) -> None:
    held(records, "anyone")
    ask(records, retain_s=1200 * 3600)
    records.settle(records.claim())
    assert held(records, "anyone") > 0
    records.wait(1500 * 3600)
    assert held(records, "anyone") == 0


def test_a_later_hit_keeps_the_question_for_a_retry_of_its_own(records: Records) -> None:
    records.beat()
    ask(records, "same", retain_s=None)
    claim = records.claim()
    records.settle(claim)
    assert ask(records, "same", retain_s=5000).cache == "HIT"
    assert left(records, f"{claim.id}:asked") == records.given(5000)


def test_what_many_callers_hold_is_counted_for_none_of_them_when_it_is_gone(records: Records) -> None:
    callers = [f"caller_{number}" for number in range(250)]
    for caller in callers:
        records.submit(caller=caller)
        records.settle(records.claim())
    assert held(records, callers[0]) > 0
    records.wait(30 * 86_400)
    records.fold()
    assert {caller: held(records, caller) for caller in callers} == dict.fromkeys(callers, 0)


def test_shared_answer_is_kept_for_its_longest_caller(records: Records) -> None:
    for retain_s, caller in ((30, "one"), (5000, "other")):
        ask(records, "same", retain_s=retain_s, caller=caller)
    claim = records.claim()
    records.settle(claim)
    assert records.kept(claim.id) == 5000
