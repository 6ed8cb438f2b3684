"""What a caller is told of its wait is held against what comes, and learnt from."""

import random

from shared.job import JobView
from shared.store import jobs
from tests.support.store import LANE, Records


def lane(records: Records):  # type: ignore[no-untyped-def]
    return records.run(jobs.lane(records.settings, LANE))


def serve(records: Records, wait_s: float) -> JobView:
    """One run, begun after so long."""
    view = records.submit()
    records.wait(wait_s)
    records.settle(records.claim())
    return view


def test_half_begin_by_p50_and_nine_in_ten_by_p90_whatever_the_service_takes(records: Records) -> None:
    records.beat(facts={"rows": "1", "slots": "1"})
    dice = random.Random(4)  # noqa: S311
    for _ in range(300):
        records.beat()
        serve(records, dice.lognormvariate(-2, 0.7))
    begun = [0, 0]
    for _ in range(300):
        records.beat()
        wait = dice.lognormvariate(-2, 0.7)
        told = serve(records, wait).estimate
        assert told is not None
        begun[0] += wait <= told.p50
        begun[1] += wait <= told.p90
    assert 120 <= begun[0] <= 180
    assert begun[1] >= 255


def test_the_service_publishes_how_its_promises_did(records: Records) -> None:
    records.beat(facts={"rows": "1", "slots": "1"})
    assert lane(records).calibration is None
    for _ in range(20):
        serve(records, 0.0)
    seen = lane(records).calibration
    assert seen is not None
    assert (seen.scored, seen.within_p50, seen.within_p90) == (20, 1.0, 1.0)


def test_nothing_is_foretold_where_nobody_works_and_nothing_scored(records: Records) -> None:
    records.submit()
    records.wait(60)
    records.settle(records.claim())
    assert lane(records).calibration is None


def test_a_second_attempt_is_not_scored(records: Records) -> None:
    records.beat(facts={"rows": "1", "slots": "1"})
    records.submit()
    records.give_back(records.claim())
    records.wait(50)
    records.claim()
    assert lane(records).calibration.scored == 1
