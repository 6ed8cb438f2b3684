"""What a caller is told of its wait is held against what comes, and learnt from."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from shared.job import JobView
from shared.store import jobs
from shared.store.claims import Claim
from tests.support.existing import existing
from tests.support.store import LANE, Records, answer


def lane(records: Records):  # type: ignore[no-untyped-def]
    return records.run(jobs.lane(records.settings, LANE))


def serve(records: Records, wait_s: float) -> JobView:
    """One run, begun after so long."""
    view = records.submit()
    records.wait(wait_s)
    records.settle(records.claim())
    return view


def test_how_long_the_first_in_line_waits_is_known_until_it_is_taken(records: Records) -> None:
    assert lane(records).first_waited_s == 0
    records.submit()
    records.wait(5)
    records.submit(priority="batch")
    records.wait(2)
    assert lane(records).first_waited_s == 7
    records.beat()
    records.claim()
    assert lane(records).first_waited_s == 2


def wave(records: Records, jobs: int, wait_s: float) -> list[JobView]:
    """Jobs that come together, and begin together after so long."""
    records.beat()
    views = [records.submit() for _ in range(jobs)]
    records.wait(wait_s)
    records.beat()
    for claim in [records.claim() for _ in views]:
        records.settle(claim)
    return views


def test_half_begin_by_p50_and_nine_in_ten_by_p90_where_they_come_in_bursts_and_miss_together(
    records: Records,
) -> None:
    records.beat(facts={"rows": "1", "slots": "100"})
    dice = random.Random(4)  # noqa: S311
    begun, jobs = [0, 0], 0
    for _ in range(100):
        wait_s = dice.lognormvariate(-2, 0.7)
        for view in wave(records, dice.randrange(1, 20), wait_s):
            assert view.estimate is not None
            jobs += 1
            begun[0] += wait_s <= view.estimate.p50
            begun[1] += wait_s <= view.estimate.p90
    assert 0.45 <= begun[0] / jobs <= 0.55
    assert 0.85 <= begun[1] / jobs <= 0.95


def test_many_who_waited_long_together_lengthen_no_promise_beyond_what_they_waited(records: Records) -> None:
    records.beat(facts={"rows": "1", "slots": "1000"})
    wave(records, 500, 1.0)
    told = existing(records.submit().estimate)
    assert 0.9 < told.p50 < 1.2
    assert 0.9 < told.p90 < 1.2


def test_answers_that_become_longer_lengthen_promises_by_what_they_take_and_not_twice(
    records: Records,
) -> None:
    def compute(claim: Claim, s: int) -> None:
        for _ in range(s):
            records.wait(1)
            records.beat()
        records.settle(claim, answer().model_copy(update={"compute_s": float(s)}))

    for s in (1, 8):
        for _ in range(40):
            records.beat(facts={"rows": "1", "slots": "1"})
            records.submit()
        while claim := records.try_claim():
            compute(claim, s)
    told = [existing(records.submit().estimate) for _ in range(40)][-1]
    assert 39 * 8 / 1.5 < told.p50 < 39 * 8 * 1.5


def test_the_service_publishes_how_its_promises_did(records: Records) -> None:
    records.beat(facts={"rows": "1", "slots": "1"})
    assert lane(records).calibration is None
    for _ in range(20):
        serve(records, 0.0)
    seen = existing(lane(records).calibration)
    assert (seen.scored, seen.within_p50, seen.within_p90) == (20, 1.0, 1.0)


def test_nothing_is_foretold_where_nobody_works_and_nothing_scored(records: Records) -> None:
    records.submit()
    records.wait(60)
    records.settle(records.claim())
    assert lane(records).calibration is None


def watched(records: Records, wait_s: int) -> None:
    """So long no worker beats, but the maintenance does: it is no outage."""
    for _ in range(wait_s):
        records.wait(1)
        records.rescue()


def serve_cold(records: Records, wait_s: int) -> JobView:
    """One run for a model that a node loads because of it."""
    records.node_beat(load_in_ms="6000")
    view = records.submit()
    watched(records, wait_s)
    records.beat()
    records.settle(records.claim())
    records.beat(state="gone")
    return view


def test_what_is_told_of_cold_models_is_learnt_from(records: Records) -> None:
    """Also in a lane that has learnt of nothing else yet."""
    records.beat(state="gone", facts={"load_ms": "4000"})
    records.change_lane(factors={"free": "1000000 3000000", "busy": "1000000 3000000", "kept": "0 0 0"})
    assert existing(serve_cold(records, 30).estimate).p50 == pytest.approx(10, abs=0.01)
    for _ in range(20):
        serve_cold(records, 30)
    assert existing(lane(records).calibration).scored == pytest.approx(21, abs=0.5)
    assert 20 < existing(serve_cold(records, 30).estimate).p50 < 40


def test_a_second_attempt_is_not_scored(records: Records) -> None:
    records.beat(facts={"rows": "1", "slots": "1"})
    records.submit()
    records.give_back(records.claim())
    records.wait(50)
    records.claim()
    assert lane(records).calibration.scored == 1


def busy_lane(records: Records, dice: random.Random) -> None:
    """Some work of some callers waits and runs, after some was served and learnt from."""
    facts = {"rows": str(dice.randrange(1, 5)), "slots": str(dice.randrange(4, 9))}
    for _ in range(dice.randrange(40)):
        records.beat(facts=facts)
        caller, priority = dice.choice("abc"), dice.choice(("interactive", "normal", "batch"))
        rows = dice.choice((1, 1, 8))
        records.submit(caller=caller, priority=priority, cost=dice.randrange(1, 200), rows=rows)
        records.wait(dice.random())
        claim = records.try_claim() if dice.random() < 0.4 else None
        if claim and dice.random() < 0.7:
            records.settle(claim, answer().model_copy(update={"compute_s": dice.uniform(0.1, 5)}))
    for worker in range(dice.randrange(1, 4)):
        records.beat(worker=f"worker_{worker}", facts=facts)


def promise(records: Records, run: str | None) -> list[int]:
    """When a run is to begin at p50 and at p90, in milliseconds."""
    return [int(ms) for ms in (records.field(run, "promise") or "").split()[2:4]]


def ready(_: Records) -> None:
    """As `busy_lane` leaves it."""


def cold(records: Records) -> None:
    for worker in range(4):
        records.beat(worker=f"worker_{worker}", state="gone", facts={"load_ms": "4000"})
    records.beat(state="gone")
    records.node_beat(load_in_ms="2500")


def loading(records: Records) -> None:
    cold(records)
    records.beat(state="loading", facts={"load_passed_ms": "1500"})


def loading_too_long(records: Records) -> None:
    cold(records)
    records.beat(state="loading", facts={"load_passed_ms": "90000"})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "stands", [ready, cold, loading, loading_too_long], ids=lambda stands: stands.__name__
)
def test_what_a_caller_is_told_is_what_is_held_against_the_wait(
    records: Records, stands: Callable[[Records], None], seed: int
) -> None:
    busy_lane(records, random.Random(seed))  # noqa: S311
    stands(records)
    for priority in ("interactive", "normal", "batch"):
        placing = replace(records.placing(), priority=priority, caller=f"new-{priority}")
        view = records.accept(placing)
        assert view.estimate is not None
        told = view.estimate
        assert [told.p50, told.p90] == pytest.approx(
            [ms / 1000 for ms in promise(records, placing.job)], abs=0.002
        )


def a_pause(records: Records) -> None:
    records.pause()
    records.wait(600)
    records.pause(paused=False)


def an_outage(records: Records) -> None:
    records.rescue()
    records.wait(600)
    records.rescue()


def another_worker(records: Records) -> None:
    watched(records, 60)
    records.beat(worker="worker_02")


@pytest.mark.parametrize("waits", [a_pause, an_outage, another_worker], ids=lambda waits: waits.__name__)
def test_what_waited_through_what_nobody_foresees_teaches_nothing(
    records: Records, waits: Callable[[Records], None]
) -> None:
    records.beat(facts={"rows": "1", "slots": "1"})
    records.submit()
    waits(records)
    records.claim()
    assert lane(records).calibration is None


@pytest.mark.parametrize("facts", [{"failed": "no memory"}, {}], ids=["failed", "killed"])
def test_nor_does_a_load_that_failed_and_was_mended(records: Records, facts: dict[str, str]) -> None:
    cold(records)
    records.submit()
    records.beat(state="loading")
    records.beat(state="gone", facts=facts)
    watched(records, 60)
    records.beat(facts={"failed": ""})
    records.claim()
    assert lane(records).calibration is None


@pytest.mark.parametrize("measured", [True, False])
def test_a_first_load_that_was_only_guessed_teaches_nothing(records: Records, measured: bool) -> None:
    if measured:
        cold(records)
    records.node_beat()
    records.submit()
    records.beat(state="loading")
    records.beat(facts={"load_ms": "4000"})
    records.claim()
    assert (lane(records).calibration is not None) == measured


def test_nine_in_ten_are_never_promised_to_begin_before_half(records: Records) -> None:
    """However the two factors, each learnt by itself, have crossed."""
    records.beat(facts={"rows": "1", "slots": "1"})
    records.change_lane(factors={"free": "5000000 1000000", "busy": "1000000 3000000", "kept": "0 0 0"})
    half, most = promise(records, records.submit().run_id)
    assert half == most


@pytest.mark.parametrize(("factor", "wait_s"), [(1000.0, 3600.0), (0.01, 0.0)])
def test_no_run_of_bad_luck_takes_promises_where_they_cannot_come_back_from(
    records: Records, factor: float, wait_s: float
) -> None:
    records.beat(facts={"rows": "1", "slots": "1"})
    millionths = " ".join([f"{factor * 1e6:.0f}"] * 2)
    records.change_lane(factors={"free": millionths, "busy": "1000000 3000000", "kept": "0 0 0"})
    serve(records, wait_s)
    assert records.lane_state()["factors"]["free"] == millionths
