"""Runs with several answers take a row for each: no worker hoards them while another has rows to spare."""

import pytest

from shared.store.claims import Claim
from shared.store.workers import fleet
from tests.support.existing import existing
from tests.support.store import LANE, Records

SLOTS = 6
OTHER = "worker_02"


def claimed(records: Records, **how: str) -> Claim:
    claim = records.claim_within(SLOTS, **how)
    assert isinstance(claim, Claim)
    return claim


def test_a_full_worker_whom_nothing_waits_for_goes_home(records: Records) -> None:
    records.submit(rows=8)
    claimed(records)
    assert records.claim_within(SLOTS) is None
    records.submit()
    records.pause()
    assert records.claim_within(SLOTS) is None


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
