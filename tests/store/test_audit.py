"""The audit: what no history should leave is found and mended, and nothing healthy is touched."""

from collections.abc import Callable

import pytest

from shared.job import Times
from tests.support.store import LANE, Records

PICTURE = "d" * 64


def test_healthy_records_are_left_alone(records: Records) -> None:
    records.beat()
    records.settle(records.claim()) if records.submit("done") else None
    records.submit("done")
    records.submit("waits", blobs=(PICTURE,))
    records.submit("runs", priority="interactive")
    records.claim()
    records.submit_pending()
    before = records.dump()
    assert records.audit() == {}
    assert records.dump() == before


def test_what_waits_for_its_time_goes_on_waiting(records: Records) -> None:
    at = records.now + 60_000
    records.post(records.placing(key=None), pending_terms="{}", times=Times(schedule_at=at))
    assert records.audit() == {}
    assert records.due() == []
    assert records.client.zrange("sl7:later", 0, -1, withscores=True)[0][1] == at


def test_the_list_of_a_caller_that_comes_no_more_does_not_keep_the_names_of_its_jobs(
    records: Records,
) -> None:
    first, second = records.submit(), records.submit()
    records.client.delete(f"sl7:{first.id}", f"sl7:{first.run_id}")
    records.audit()
    assert records.client.zrange("sl7:jobs:anyone", 0, -1) == [second.id]


def lose_place(records: Records) -> None:
    records.client.delete(f"sl7:line:{LANE}:normal:anyone", f"sl7:turns:{LANE}:normal", f"sl7:lane:{LANE}")


def lose_line(records: Records) -> None:
    records.client.delete(f"sl7:line:{LANE}:normal:anyone", f"sl7:turns:{LANE}:normal")


def lose_turn(records: Records) -> None:
    records.client.delete(f"sl7:turns:{LANE}:normal")


@pytest.mark.parametrize("lose", [lose_place, lose_line, lose_turn])
def test_work_that_stands_nowhere_is_put_in_line_again(
    records: Records, lose: Callable[[Records], None]
) -> None:
    view = records.submit()
    lose(records)
    assert records.try_claim() is None
    assert records.audit()["work_nowhere"] == 1
    assert records.claim().id == view.run_id


def test_running_work_without_a_lease_is_rescued_if_its_worker_is_gone(records: Records) -> None:
    view = records.submit()
    records.claim()
    records.client.delete(f"sl7:lease:{LANE}")
    found = records.audit()
    assert found["work_nowhere"] == 1
    assert records.lose_worker() == [(view.run_id, LANE)]


def test_running_work_without_a_lease_goes_on_if_its_worker_lives(records: Records) -> None:
    records.submit()
    claim = records.claim()
    records.client.delete(f"sl7:lease:{LANE}")
    records.audit()
    assert records.renew(claim) == []
    assert records.settle(claim) == "settled"


def test_a_run_for_nobody_ends(records: Records) -> None:
    view = records.submit()
    records.client.delete(f"sl7:{view.id}")
    assert records.audit()["run_for_nobody"] == 1
    assert records.try_claim() is None


def test_a_job_whose_run_is_gone_fails_instead_of_waiting_for_ever(records: Records) -> None:
    view = records.submit()
    records.client.delete(f"sl7:{view.run_id}")
    records.audit()
    seen = records.view(view.id)
    assert (seen.status, seen.error and seen.error.code) == ("failed", "internal_error")
    assert records.events(view.id)[-1].type == "failed"


def test_work_for_jobs_that_are_gone_is_not_computed(records: Records) -> None:
    view = records.submit()
    records.client.delete(f"sl7:{view.id}")
    assert records.audit()["run_for_nobody"] == 1


def test_a_job_nobody_watches_is_watched_again(records: Records) -> None:
    view = records.submit()
    records.client.delete("sl7:deadlines")
    assert records.audit() == {"job_without_deadline": 1}
    assert records.client.zscore("sl7:deadlines", view.id)


def test_a_caller_whose_turn_was_lost_can_submit(records: Records) -> None:
    records.submit()
    lose_turn(records)
    records.submit()
    assert [records.try_claim() is not None for _ in range(3)] == [True, True, False]
