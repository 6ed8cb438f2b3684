"""A worker stops useless work early; the store alone decides whose work counts."""

from tests.support.workbench import Workbench
from worker.lease import Lease, Leases


def test_a_lost_claim_stays_lost_whatever_comes_later(desk: Workbench) -> None:
    desk.ask("x")
    lease = Lease(desk.claim())
    lease.stop("lost")
    lease.stop("draining")
    assert lease.reason == "lost"
    assert lease.cancel.is_set()


def test_a_draining_workers_claim_may_still_be_lost(desk: Workbench) -> None:
    desk.ask("x")
    lease = Lease(desk.claim())
    lease.stop("draining")
    lease.stop("lost")
    assert lease.reason == "lost"


def test_a_claim_is_no_longer_renewed_once_its_attempt_is_over(desk: Workbench) -> None:
    for text in ("x", "y"):
        desk.ask(text)
    leases = Leases()
    with leases.hold(desk.claim()) as first:
        try:
            with leases.hold(desk.claim()) as second:
                assert leases.all() == [first, second]
                raise RuntimeError
        except RuntimeError:
            assert leases.all() == [first]
    assert leases.all() == []
