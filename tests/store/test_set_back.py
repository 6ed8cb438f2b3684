"""The store's clock was an hour ahead and is put right: nothing waits for that hour."""

import pytest

from shared.api_keys import ApiKey
from shared.estimate import Lane
from shared.job import Times
from shared.settings import QueueSettings
from shared.store import api_keys, batches, jobs, maintenance, workers
from shared.store.constants import GRACE_ROUNDS, call_ms
from shared.store.script import Store
from tests.support.hooks import ended, taken
from tests.support.store import FAILURE, LANE, SETTINGS, START_MS, Records
from tests.support.stored_batches import begun, take

AHEAD_S = 3600
GRACE_MS = round(GRACE_ROUNDS * SETTINGS.queue.renew_s * 1000)
HOOK_LEASE_S = call_ms(SETTINGS) / 1000
OUTAGES = pytest.mark.parametrize(("outage_s", "ahead_s"), [(40, AHEAD_S), (40, 2)])
"""The store is down, and comes up with a clock that is ahead."""


def put_right(records: Records, ahead_s: float = AHEAD_S) -> None:
    """Another worker's first beat by the right clock is what notices it."""
    records.rescue()
    records.wait(-ahead_s)
    beat_elsewhere(records)


def beat_elsewhere(records: Records) -> None:
    records.beat(worker="worker_02", lane="model.other")


def blip(records: Records, ahead_s: float) -> None:
    """The clock is ahead for a moment."""
    records.rescue()
    records.wait(ahead_s)
    put_right(records, ahead_s)


def lane(records: Records) -> Lane:
    return records.run(jobs.lane(records.settings, LANE))


def seconds_pass(records: Records, seconds: float) -> list[tuple[str, str]]:
    """What maintenance rescued meanwhile."""
    rescued = []
    for _ in range(round(seconds)):
        records.wait(1)
        beat_elsewhere(records)
        rescued += records.rescue()
    return rescued


@pytest.fixture
def hesitant(store: Store) -> Records:
    """Between two attempts it waits for twenty seconds."""
    return Records(store, SETTINGS.model_copy(update={"queue": QueueSettings(backoff_s=20)}))


def test_a_courier_that_is_gone_does_not_lead_until_the_former_clock_comes_by(records: Records) -> None:
    assert records.store.run(maintenance.lead("courier_1", AHEAD_S * 1000))
    put_right(records)
    assert records.store.run(maintenance.lead("courier_2", 3000))


def test_dead_workers_are_spared_no_longer_than_behind_an_outage(records: Records) -> None:
    """The clock jumps ahead under a service that works, which looks like an outage, and back."""
    records.submit()
    records.rescue()
    records.claim()
    records.wait(AHEAD_S)
    assert records.rescue() == []
    put_right(records)
    assert float(records.client.hget("sl7:upkeep", "grace_till")) <= records.now + GRACE_MS
    assert seconds_pass(records, SETTINGS.queue.lease_s + 2)


@OUTAGES
def test_the_work_of_living_workers_is_not_begun_anew(
    records: Records, outage_s: float, ahead_s: float
) -> None:
    """They have not come back yet when the clock is put right."""
    records.submit()
    records.rescue()
    claim = records.claim()
    records.wait(outage_s + ahead_s)
    assert records.rescue() == []
    records.wait(1)
    put_right(records, ahead_s)
    assert records.rescue() == []
    assert records.renew(claim) == []
    assert records.append(claim, 0, "on") == "ok"


@OUTAGES
def test_nobody_is_told_that_workers_are_gone_who_live(
    records: Records, outage_s: float, ahead_s: float
) -> None:
    records.submit()
    records.beat()
    records.wait(outage_s + ahead_s)
    put_right(records, ahead_s)
    assert lane(records).state == "ready"
    seconds_pass(records, GRACE_MS / 1000)
    assert lane(records).state == "no_worker"


@pytest.mark.parametrize("state", ["ready", "loading"])
def test_workers_that_died_meanwhile_do_not_count_as_alive(records: Records, state: workers.State) -> None:
    records.submit()
    records.beat(state=state)
    records.wait(AHEAD_S)
    records.beat(state=state)
    assert lane(records).state == state
    put_right(records)
    seconds_pass(records, SETTINGS.queue.worker_ttl_s + 1)
    assert lane(records).state == "no_worker"


def test_a_batch_in_progress_is_taken_up_again_when_its_lease_ends(records: Records) -> None:
    begun(records)
    put_right(records)
    assert records.run(batches.take(SETTINGS, records.token())) == pytest.approx(batches.LEASE_S)
    records.wait(batches.LEASE_S)
    take(records)


def test_a_batch_in_progress_is_not_taken_from_who_works_on_it(records: Records) -> None:
    begun(records)
    blip(records, 5)
    assert records.run(batches.take(SETTINGS, records.token())) == pytest.approx(batches.LEASE_S)


def test_a_run_between_two_attempts_goes_on_after_its_pause(hesitant: Records) -> None:
    hesitant.submit()
    hesitant.give_back(hesitant.claim(), FAILURE)
    put_right(hesitant)
    assert hesitant.due() == []
    hesitant.wait(20)
    assert hesitant.due() == [LANE]


def test_a_run_between_two_attempts_is_not_hurried_by_a_clock_that_was_ahead_for_a_moment(
    hesitant: Records,
) -> None:
    hesitant.submit()
    hesitant.give_back(hesitant.claim(), FAILURE)
    blip(hesitant, 10)
    hesitant.wait(19)
    assert hesitant.due() == []
    hesitant.wait(1)
    assert hesitant.due() == [LANE]


@pytest.mark.parametrize(("due_s", "looks"), [(60, 1_000), (AHEAD_S, 0)])
def test_a_clock_set_back_holds_the_store_up_for_no_longer_the_more_is_scheduled(
    real_store: Store, due_s: float, looks: int
) -> None:
    records = Records(real_store)
    due = records.now + due_s * 1000
    records.client.zadd("sl7:later", {f"job_{number:032x}": due for number in range(12_000)})
    records.rescue()
    records.wait(-2)
    before = commands(records)
    beat_elsewhere(records)
    assert commands(records) - before <= looks + 100


def commands(records: Records) -> int:
    return sum(command["calls"] for command in records.client.info("commandstats").values())


def test_a_job_for_a_later_time_still_waits_for_that_time(records: Records) -> None:
    times = Times(schedule_at=records.now + 60_000)
    records.post(records.placing(key=None), times=times, pending_terms="{}")
    put_right(records)
    records.wait(AHEAD_S)
    assert records.due() == []
    records.wait(60)
    assert len(records.due()) == 1


def test_a_caller_s_list_has_what_was_asked_by_the_former_clock(records: Records) -> None:
    job = records.submit()
    put_right(records)
    assert records.page() == [job.id]


def test_a_webhook_that_failed_is_called_again_after_its_delay(records: Records) -> None:
    ended(records)
    records.tell(taken(records), 500, error="no", delay_s=30)
    put_right(records)
    assert records.next_delivery() is None
    records.wait(30)
    assert taken(records).tries == 1


@pytest.mark.parametrize("ahead_s", [20, HOOK_LEASE_S - 2])
def test_a_webhook_whose_call_goes_on_is_not_called_by_another(records: Records, ahead_s: float) -> None:
    ended(records)
    taken(records)
    blip(records, ahead_s)
    records.wait(HOOK_LEASE_S - 1)
    assert records.next_delivery() is None
    records.wait(1)
    taken(records)


def test_a_failing_webhook_s_tries_are_not_used_up_by_a_clock_that_was_ahead_for_a_moment(
    records: Records,
) -> None:
    ended(records)
    records.tell(taken(records), 500, error="no", delay_s=30)
    blip(records, 20)
    records.wait(29)
    assert records.next_delivery() is None
    records.wait(1)
    taken(records)


def test_a_webhook_given_up_by_the_clock_that_was_ahead_is_called_at_once(records: Records) -> None:
    ended(records)
    first = taken(records)
    records.wait(AHEAD_S)
    # Another courier is at work, and takes one call of those whose leases ran out.
    records.tell(taken(records), 500, error="no", delay_s=5)
    put_right(records)
    records.wait(5)
    assert taken(records).id == first.id


def test_a_webhook_whose_courier_died_is_called_by_another(records: Records) -> None:
    ended(records)
    first = taken(records)
    put_right(records)
    records.wait(60)
    assert taken(records).id == first.id


def test_a_key_that_used_up_its_minute_is_let_in_again(records: Records) -> None:
    key = ApiKey("key_0a", "production", "example-ltd", ("submit",), START_MS, requests_per_minute=1)
    records.run(api_keys.create(key, "1" * 64))
    left = [records.run(api_keys.use("1" * 64)) for _ in range(2)]
    records.wait(-AHEAD_S)
    left.append(records.run(api_keys.use("1" * 64)))
    records.wait(60)
    left.append(records.run(api_keys.use("1" * 64)))
    assert [use and use.left for use in left] == [0, -1, -1, 0]


def test_a_job_that_ran_over_it_tells_its_attempts(records: Records) -> None:
    job = records.submit().id
    claim = records.claim()
    records.wait(-AHEAD_S)
    records.settle(claim)
    view = records.view(job)
    assert [a.outcome for a in view.attempts] == ["succeeded"]
    assert view.started_ms is not None


def test_a_clock_that_is_a_moment_back_moves_nothing(hesitant: Records) -> None:
    hesitant.submit()
    hesitant.give_back(hesitant.claim(), FAILURE)
    put_right(hesitant, 0.5)
    hesitant.wait(20)
    assert hesitant.due() == []
    hesitant.wait(0.5)
    assert hesitant.due() == [LANE]


def test_answers_of_a_model_that_left_are_no_hits_once_the_clock_is_put_right(records: Records) -> None:
    records.wait(AHEAD_S)
    records.beat()
    records.submit("q")
    records.settle(records.claim())
    records.beat(state="gone")
    records.wait(-AHEAD_S)
    records.beat(worker="worker_02", fingerprint="b" * 32)
    assert records.submit("q").cache == "MISS"
