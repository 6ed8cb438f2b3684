"""Runs with several answers take a row for each: no worker hoards them while another has rows to spare."""

import pytest

from shared.store import jobs
from shared.store.claims import Claim
from shared.store.workers import fleet
from tests.support.existing import existing
from tests.support.store import LANE, Records

SLOTS = 6
OTHER = "worker_02"


def lane(records: Records):  # type: ignore[no-untyped-def]
    return records.run(jobs.lane(records.settings, LANE))


def claimed(records: Records, **how: str) -> Claim:
    claim = records.claim_within(SLOTS, **how)
    assert isinstance(claim, Claim)
    return claim


def test_a_worker_whose_rows_are_taken_leaves_what_waits_to_others(records: Records) -> None:
    wide = [records.submit(rows=8).run_id for _ in range(2)]
    records.submit()
    first = claimed(records)
    assert (first.id, first.rows) == (wide[0], 8), "a worker that holds nothing takes it, however wide"
    assert records.claim_within(SLOTS) == "full"
    assert claimed(records, worker=OTHER).id == wide[1], "what is wide keeps its turn"
    assert records.claim_within(SLOTS, worker=OTHER) == "full"
    records.settle(first)
    assert claimed(records).rows == 1


def test_a_full_worker_whom_nothing_waits_for_goes_home(records: Records) -> None:
    records.submit(rows=8)
    claimed(records)
    assert records.claim_within(SLOTS) is None
    records.submit()
    records.pause()
    assert records.claim_within(SLOTS) is None


@pytest.mark.parametrize("rows", [(3, 2, 3, 1), (4, 2, 1)])
def test_a_worker_takes_what_comes_until_its_rows_are_taken(records: Records, rows: tuple[int, ...]) -> None:
    for wide in rows:
        records.submit(rows=wide)
    assert tuple(claimed(records).rows for _ in rows[:-1]) == rows[:-1]
    before = records.dump()
    assert records.claim_within(SLOTS) == "full"
    assert records.dump() == before


@pytest.mark.parametrize("end", ["settled", "cancelled"])
def test_the_rows_of_a_wide_run_that_ended_are_free_again(records: Records, end: str) -> None:
    job = records.submit(rows=8).id
    claim = claimed(records)
    records.submit()
    assert records.claim_within(SLOTS) == "full"
    if end == "settled":
        records.settle(claim)
    else:
        records.cancel(job)
    assert claimed(records).rows == lane(records).rows_taken == 1


@pytest.mark.parametrize("how", ["given back", "lost", "unheard"])
def test_a_wide_run_goes_back_with_all_its_rows(records: Records, how: str) -> None:
    records.submit(rows=8)
    claim = claimed(records)
    records.submit()
    if how == "given back":
        records.give_back(claim)
    elif how == "lost":
        records.lose_worker()
    else:
        records.wait(4)
        records.renew()
    assert (lane(records).rows_taken, lane(records).extra_queued) == (0, 7)
    assert [claimed(records, worker=OTHER).rows, claimed(records).rows] == [8, 1]


def test_who_scales_the_workers_is_told_of_rows(records: Records) -> None:
    waiting = [records.submit(rows=rows) for rows in (8, 8, 1)]
    claimed(records)

    def backlog() -> int:
        (seen,) = records.run(fleet(records.settings, [LANE]))
        return seen.backlog

    assert backlog() == 17
    records.cancel(waiting[1].id)
    assert backlog() == 9
    records.pause()
    assert backlog() == 8, "of a paused line nothing is begun"


def test_a_caller_is_not_promised_a_row_that_another_s_answers_take(records: Records) -> None:
    facts = {"rows": "4", "slots": "6"}
    records.beat(facts=facts)
    records.submit(rows=8)
    claimed(records)
    told = existing(records.submit().estimate)
    # The 2 rows too many are a quarter of a run, and what is computed is half done: 0.75 runs over 4 rows.
    assert told.p50 == pytest.approx(0.75 / 4, abs=0.001)
    records.beat(worker=OTHER, facts=facts)
    told = existing(records.submit(caller="other").estimate)
    assert told.p50 <= 0.003, "another worker has rows to spare"
