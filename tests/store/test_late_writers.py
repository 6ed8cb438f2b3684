"""Who lost its claim, whatever took it, writes nothing of its own."""

from collections.abc import Callable

import pytest

from tests.support.store import BROKEN, FAILURE, Records


def rescued(records: Records, _: str) -> None:
    assert records.lose_worker()


def claimed_by_another(records: Records, job: str) -> None:
    rescued(records, job)
    assert records.try_claim() or records.claim_pending()


def late(records: Records, _: str) -> None:
    records.wait(100)
    assert records.expire()


LOSSES: tuple[Callable[[Records, str], object], ...] = (
    *(Records.cancel, Records.purge, rescued, claimed_by_another, late),
)
lost = pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)


@lost
def test_a_worker_that_lost_its_run_and_comes_back_writes_nothing(
    records: Records, lose: Callable[[Records, str], object]
) -> None:
    job = records.accept(records.placing(), finish_by_ms=records.now + 100_000).id
    claim = records.claim()
    records.append(claim, 0, "one ")
    lose(records, job)
    before = records.dump()
    assert [records.append(claim, 4, "two"), records.settle(claim), records.settle(claim, BROKEN)] == [
        "lost"
    ] * 3
    assert [records.give_back(claim), records.give_back(claim, FAILURE)] == [None, None]
    assert records.renew(claim) == [claim.token]
    assert records.dump() == before


@lost
def test_a_courier_that_lost_its_job_and_comes_back_writes_nothing(
    records: Records, lose: Callable[[Records, str], object]
) -> None:
    soon = records.now + 100_000
    job = records.accept(records.placing(key=None), pending_terms="{}", finish_by_ms=soon).id
    claim = records.claim_pending()
    lose(records, job)
    before = records.dump()
    assert [records.admit(claim), records.fail_intake(claim)] == ["lost", "lost"]
    assert records.give_back(claim) is None
    assert records.dump() == before


def test_nothing_is_published_after_the_end(records: Records) -> None:
    job, claim = records.started()
    records.settle(claim)
    before = records.dump()
    assert records.append(claim, 0, "late") == "lost"
    assert records.give_back(claim, FAILURE) is None
    assert records.dump() == before
    assert records.story(job) == ["queued", "running", "succeeded"]
