"""Work that workers die on is found by trying it alone; its neighbours are not blamed."""

import pytest

from shared.job import Priority
from shared.store.claims import Claim, give_back
from tests.support.store import LANE, Records


def die(records: Records, *held: Claim) -> None:
    """The workers of these claims are lost; the others go on."""
    others = [c for c in records_leased(records) if c not in {h.id for h in held}]
    tokens = {work: records.field(work, "token") for work in others}
    for _ in range(12):
        records.wait(1)
        for work, token in tokens.items():
            records.client.zadd(f"sl9:lease:{LANE}", {work: records.now + 10_000})
            assert token
        if records.rescue():
            return


def records_leased(records: Records) -> list[str]:
    return list(records.client.zrange(f"sl9:lease:{LANE}", 0, -1))


def keep_busy(records: Records) -> list[Claim]:
    """Two workers have a run each."""
    for _ in range(2):
        records.submit()
    return [records.claim(worker=name) for name in ("worker_a", "worker_b")]


def shared_deaths(records: Records, times: int) -> tuple[str, list[str]]:
    """A killer and its neighbours after some deaths of the worker that held them all: jobs' ids."""
    jobs = [records.submit().id for _ in range(3)]
    for at in range(times):
        held = [records.claim(worker=f"worker_{at}") for _ in jobs]
        die(records, *held)
    return jobs[0], jobs[1:]


def test_neighbours_of_a_killer_are_answered(records: Records) -> None:
    killer, neighbours = shared_deaths(records, 2)
    for at in range(20):
        claim = records.try_claim(worker=f"lone_{at}")
        if claim is None:
            break
        if claim.id == records.view(killer).run_id:
            die(records, claim)
        else:
            records.settle(claim)
    assert [records.view(job).status for job in neighbours] == ["succeeded"] * 2
    view = records.view(killer)
    assert (view.status, view.error and view.error.code) == ("failed", "poison")
    assert len(view.attempts) == 2 + records.settings.queue.max_deaths


def test_who_died_with_others_is_not_blamed_for_the_order_in_which_they_are_found(records: Records) -> None:
    early, late = records.submit(), records.submit()
    records.claim()
    records.wait(0.9)
    records.claim()
    records.wait(9.2)
    assert [work for work, _ in records.rescue()] == [early.run_id]
    records.wait(0.9)
    assert [work for work, _ in records.rescue()] == [late.run_id]
    assert {records.field(v.run_id, "deaths_alone") for v in (early, late)} == {None}


def test_what_breaks_one_device_after_the_other_is_found(records: Records) -> None:
    job = records.submit().id
    for _ in range(records.settings.queue.max_deaths):
        records.run(
            give_back(records.settings, records.claim(), reason="device_broken", error=None, died=True)
        )
    view = records.view(job)
    assert (view.status, view.error and view.error.code) == ("failed", "poison")


def test_a_worker_that_becomes_empty_for_a_suspect_goes_on_doing_so(records: Records) -> None:
    keep_busy(records)
    shared_deaths_of_others(records)
    keep_emptying(records)
    records.wait(1.1)
    records.submit()
    assert records.try_claim(worker="worker_a") is None
    key, lease_ms = f"sl9:emptying:{LANE}", round(records.settings.queue.lease_s * 1000)
    for go_on in (lambda: records.try_claim(worker="worker_a"), lambda: records.beat(worker="worker_a")):
        records.client.pexpire(key, lease_ms // 2)
        go_on()
        assert lease_ms // 2 < records.client.pttl(key) <= lease_ms
    assert records.try_claim(worker="worker_a") is None


def test_a_worker_that_stops_while_it_becomes_empty_for_a_suspect_is_not_waited_for(records: Records) -> None:
    keep_busy(records)
    shared_deaths_of_others(records)
    keep_emptying(records)
    records.wait(1.1)
    assert records.try_claim(worker="worker_a") is None
    assert records.client.get(f"sl9:emptying:{LANE}") == "worker_a"
    records.beat(worker="worker_a", state="gone")
    assert records.try_claim(worker="worker_b") is None
    assert records.client.get(f"sl9:emptying:{LANE}") == "worker_b"


def test_a_worker_that_was_to_become_empty_takes_part_again_when_no_suspect_is_left(records: Records) -> None:
    keep_busy(records)
    suspects = shared_deaths_of_others(records)
    records.wait(1.1)
    assert records.try_claim(worker="worker_a") is None
    for job in suspects:
        records.cancel(job)
    records.beat(worker="worker_a")
    assert not records.client.exists(f"sl9:emptying:{LANE}")


def test_a_lease_may_be_any_fraction_of_a_second(records: Records) -> None:
    lease_s = 2.01
    assert not (lease_s * 1000).is_integer()
    records.set_queue(lease_s=lease_s, renew_s=0.1234567)
    records.submit()
    records.claim(worker="worker_a")
    shared_deaths_of_others(records)
    records.wait(60)
    assert records.beat(worker="worker_a", facts={"rows": "1", "engine": "echo"}) == "OK", (
        "after a while in which nobody could write"
    )
    assert records.try_claim(worker="worker_a") is None, "it makes itself empty"
    assert records.beat(worker="worker_a") == "OK"


@pytest.mark.parametrize(("suspect", "fresh"), [("normal", "interactive"), ("batch", "normal")])
def test_more_urgent_work_passes_a_suspect_that_has_not_waited_long(
    records: Records, suspect: Priority, fresh: Priority
) -> None:
    shared_deaths_of_others(records, suspect)
    urgent = records.submit(priority=fresh)
    assert records.claim(worker="idle").id == urgent.run_id


def shared_deaths_of_others(records: Records, priority: Priority = "normal") -> list[str]:
    jobs = [records.submit(priority=priority).id for _ in range(2)]
    for at in range(2):
        die(records, *[records.claim(worker=f"gone_{at}") for _ in jobs])
    return jobs


def keep_emptying(records: Records) -> None:
    """The server's own clock forgets who makes itself empty, a lease from then on: it must not here."""
    records.set_queue(lease_s=1000.0)


def test_a_suspect_that_waits_too_long_empties_one_worker(records: Records) -> None:
    keep_busy(records)
    suspects = {records.view(job).run_id for job in shared_deaths_of_others(records)}
    keep_emptying(records)
    records.wait(1.1)
    for _ in range(2):
        records.submit()
    assert records.try_claim(worker="worker_a") is None, "it makes itself empty"
    other = records.claim(worker="worker_b")
    assert other.id not in suspects
    for work in records_leased(records):
        if records.field(work, "worker") == "worker_a":
            token = records.field(work, "token")
            records.give_back(Claim(work, token, "", "", 1, 0, "anyone", False))
    assert records.claim(worker="worker_a").id in suspects


def test_a_suspect_that_waits_too_long_is_tried_however_much_urgent_work_comes(records: Records) -> None:
    suspects = {records.view(job).run_id for job in shared_deaths_of_others(records)}
    records.wait(1.1)
    for _ in range(3):
        records.submit(priority="interactive")
    assert records.claim(worker="idle").id in suspects


def test_a_suspect_in_hand_leaves_the_next_one_to_another_worker(records: Records) -> None:
    busy = keep_busy(records)
    suspects = {records.view(job).run_id for job in shared_deaths_of_others(records)}
    keep_emptying(records)
    records.wait(1.1)
    records.submit()
    for name, claim in zip(("worker_a", "worker_b"), busy, strict=True):
        assert records.try_claim(worker=name) is None, "it makes itself empty"
        records.settle(claim)
        suspects.remove(records.claim(worker=name).id)


def test_a_suspect_that_cannot_be_read_is_waited_for_by_nobody(records: Records) -> None:
    killer, _ = shared_deaths(records, 2)
    records.client.hset(f"sl9:{records.view(killer).run_id}", "r", "{")
    for _ in range(9):
        if (claim := records.try_claim(worker="worker_a")) is not None:
            records.settle(claim)
    waiting = records.lane_state()
    assert [waiting.get(name, 0) for name in ("x1", "x2", "x3")] == [0, 0, 0]
