"""However a job ends, the call of its webhook is in line."""

from collections.abc import Callable

import pytest

from shared.job import JobView
from tests.support.hooks import HOOK, SECRET, ended, job_of, submit, submit_pending, taken
from tests.support.store import BROKEN, Records


def succeeds(records: Records) -> JobView:
    return ended(records)


def fails(records: Records) -> JobView:
    view = submit(records)
    records.settle(records.claim(), BROKEN)
    return view


def is_cancelled(records: Records) -> JobView:
    view = submit(records)
    records.cancel(view.id)
    return view


def is_late(records: Records) -> JobView:
    view = submit(records)
    records.wait(2 * 86_400)
    records.expire()
    return view


def is_poison(records: Records) -> JobView:
    view = submit(records)
    while records.view(view.id).status != "failed":
        records.claim()
        records.lose_worker()
    return view


def has_no_pictures(records: Records) -> JobView:
    view = submit_pending(records)
    records.fail_intake(records.claim_pending())
    return view


def loses_its_model(records: Records) -> JobView:
    view = submit(records)
    records.remove_model()
    records.sweep()
    return view


def loses_its_model_while_it_fetches(records: Records) -> JobView:
    view = submit_pending(records)
    claim = records.claim_pending()
    records.remove_model()
    records.admit(claim)
    return view


def is_answered_at_the_door(records: Records) -> JobView:
    records.beat()
    records.answered("q")
    return submit(records, "q")


def is_answered_after_fetching(records: Records) -> JobView:
    records.beat()
    records.answered("q")
    view = submit_pending(records)
    records.admit(records.claim_pending(), "q")
    return view


def cannot_be_read(records: Records) -> JobView:
    view = submit(records)
    records.client.hset(f"sl9:{view.id}", "s", "{")
    assert records.try_claim() is None
    return view


ENDS: dict[Callable[[Records], JobView], str] = {
    succeeds: "succeeded",
    fails: "failed",
    is_cancelled: "cancelled",
    is_late: "failed",
    is_poison: "failed",
    has_no_pictures: "failed",
    loses_its_model: "failed",
    loses_its_model_while_it_fetches: "failed",
    is_answered_at_the_door: "succeeded",
    is_answered_after_fetching: "succeeded",
    cannot_be_read: "failed",
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_however_a_job_ends_its_hook_is_told_once(
    records: Records, end: Callable[[Records], JobView]
) -> None:
    view = end(records)
    delivery = taken(records)
    told = delivery.notice
    assert (told.subject, told.type, told.at_ms) == (view.id, f"job.{ENDS[end]}", records.now)
    assert (delivery.url, delivery.secrets, delivery.tries) == (HOOK.url, (SECRET,), 0)
    assert (job_of(delivery).result is not None) == (ENDS[end] == "succeeded")
    records.tell(delivery)
    assert records.next_delivery() is None
