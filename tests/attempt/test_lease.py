"""A worker stops useless work early; the store alone decides whose work counts."""

from itertools import count
from typing import Any

import pytest

from shared.errors import Unavailable
from shared.store.acknowledgement import Unacknowledged
from shared.store.script import ScriptCall
from tests.support.attempt_harness import WorkerHarness
from worker import lease as leases_of
from worker.lease import Lease, Reason, retry_until_stored


@pytest.mark.parametrize("reasons", [("lost", "draining"), ("draining", "lost")])
def test_a_lost_claim_is_lost_also_where_its_worker_drains(
    harness: WorkerHarness, reasons: tuple[Reason, Reason]
) -> None:
    harness.ask("x")
    lease = Lease(harness.claim())
    for reason in reasons:
        lease.stop(reason)
    assert (lease.reason, lease.cancel.is_set()) == ("lost", True)


def test_a_result_waits_for_the_store_as_long_as_its_worker_lives_and_no_worker_that_must_end_waits_for_ever(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_of, "RETRY_S", 0)
    harness.ask("x")
    lease, tries = Lease(harness.claim()), count(1)

    def out_of_reach(_: ScriptCall[Any]) -> Any:
        tried = next(tries)
        if tried == 100:
            lease.stop("draining")
        assert tried < 200, "it tries for ever"
        raise Unavailable("store_unavailable", "gone")

    ending: Any = None
    assert retry_until_stored(out_of_reach, ending, lease) is None
    assert next(tries) == 100 + leases_of.DRAINING_TRIES


def test_an_end_that_only_a_lost_primary_had_is_written_to_its_successor(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_of, "RETRY_S", 0)
    harness.ask("x")
    lease, tries = Lease(harness.claim()), count(1)

    def fails_over(_: ScriptCall[Any]) -> str:
        if next(tries) > 1:
            return "settled"
        lease.stop("lost")
        raise Unacknowledged("replica", 1, 2)

    ending: Any = None
    assert retry_until_stored(fails_over, ending, lease) == "settled"
