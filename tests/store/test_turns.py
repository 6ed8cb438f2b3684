"""Whose turn it is: fair between callers by cost, weighted between classes, nobody starved."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from shared.job import Priority
from shared.store import admission
from shared.store.claims import Claim
from tests.support.store import LANE, Records


def served(records: Records, count: int) -> list[Claim]:
    return [records.claim() for _ in range(count)]


def callers(records: Records, count: int) -> list[str]:
    return [claim.caller for claim in served(records, count)]


def test_one_caller_s_flood_does_not_hold_up_another(records: Records) -> None:
    for _ in range(50):
        records.submit(caller="flood")
    for _ in range(3):
        records.submit(caller="late")
    assert callers(records, 7).count("late") == 3


def test_who_stands_aside_for_a_worker_gives_turns_to_others_and_loses_none(records: Records) -> None:
    held = {records.submit(caller="held", priority="interactive").run_id for _ in range(2)}
    others = [records.submit(caller=name).run_id for name in ("one", "two", "held")]
    assert [records.claim(aside=["held"]).id for _ in range(2)] == others[:2]
    assert records.try_claim(aside=["held"]) is None
    assert {claim.id for claim in served(records, 2)} == held
    assert records.claim().id == others[2]


def test_who_returns_at_once_is_charged_for_what_it_just_had(records: Records) -> None:
    """With one costly run at a time, and always back before the next claim, a caller gets its share."""
    for _ in range(100):
        records.submit(caller="steady", cost=1)
    taken = Counter[str]()
    for _ in range(60):
        if not records.client.exists(f"sl9:line:{records.placing().lane}:normal:greedy"):
            records.submit(caller="greedy", cost=10)
        taken[records.claim().caller] += 1
    assert taken["greedy"] <= 7


def test_classes_are_served_sixteen_to_four_to_one(records: Records) -> None:
    classes: tuple[Priority, ...] = ("interactive", "normal", "batch")
    job_classes = {records.submit(priority=p).run_id: p for _ in range(64) for p in classes}
    taken = Counter(job_classes[claim.id] for claim in served(records, 42))
    assert abs(taken["interactive"] - 32) <= 2
    assert abs(taken["normal"] - 8) <= 2
    assert 1 <= taken["batch"] <= 3


def test_work_that_was_cancelled_by_many_keeps_a_worker_from_nothing(records: Records) -> None:
    records.submit(caller="stays")
    for number in range(150):
        records.cancel(records.submit(caller=f"leaves_{number}").id, f"leaves_{number}")
    assert isinstance(records.claim_within(8), Claim)


def test_who_found_no_place_behind_the_courier_does_not_go_before_everybody(records: Records) -> None:
    """Its pictures would be fetched over and over, and nobody else's."""
    for caller in ("one", "two"):
        records.submit_pending(caller=caller)
    claim = records.claim_pending()
    assert claim.caller == "one"
    records.give_back(claim, reason="queue_full")
    assert records.claim_pending().caller == "two"


def test_a_line_that_never_empties_does_not_remember_everybody_who_was_served(records: Records) -> None:
    for _ in range(20):
        records.submit(caller="steady")
    for number in range(10):
        records.submit(caller=f"passing_{number}")
        callers(records, 2)
    assert records.client.zcard(f"sl9:turns:{LANE}:normal") <= 2


def test_a_caller_is_told_how_many_are_served_first(records: Records) -> None:
    records.beat(facts={"rows": "1", "slots": "1"})
    for _ in range(40):
        records.submit(caller="flood")
    view = records.submit(caller="late")
    assert view.ahead == 1
    deep = [records.submit(caller="late") for _ in range(5)][-1]
    assert deep.ahead is not None
    assert 10 <= deep.ahead <= 12
    assert records.submit(caller="third", priority="batch").ahead == 4, "a batch gets a quarter of the turns"


@pytest.mark.parametrize("pending", [False, True])
def test_a_caller_with_too_much_in_line_hears_so_and_others_do_not(records: Records, pending: bool) -> None:
    records.set_queue(max_queued_caller=2, max_queued=5)
    terms = {"pending_terms": "{}"} if pending else {}

    def word(caller: str) -> str:
        placing = records.placing(caller=caller)
        return records.post(replace(placing, key=None) if pending else placing, **terms).word

    first = [word("one") for _ in range(3)]
    assert first == [("intake" if pending else "queued")] * 2 + ["crowded"]
    assert [word("two") for _ in range(3)][-1] == "crowded"
    assert [word("three") for _ in range(2)][-1] == "full"


def test_who_asks_beforehand_is_told_how_many_are_served_first(records: Records) -> None:
    def foretold(question: str = "", **changes: Any) -> int | None:
        placing = records.placing(question, **changes)
        call = admission.predict(placing, records.settings, pending=False, max_queued_caller=None)
        return records.run(call).lane.ahead

    for number in range(3):
        records.submit(caller=f"other_{number}")
    assert foretold(caller="late") == records.submit(caller="late").ahead == 3
    records.submit("shared", caller="one")
    records.submit(caller="one", priority="interactive")
    assert foretold("shared", caller="one", priority="interactive") == 0, "it came before the other one"


def test_a_caller_who_cancels_what_waits_owes_as_much_as_before(records: Records) -> None:
    records.submit(caller="greedy", cost=100)
    modest = [records.submit(caller="modest", cost=1).id for _ in range(3)]
    records.claim()
    records.cancel(records.submit(caller="greedy", cost=1).id, "greedy")
    records.submit(caller="greedy", cost=1)
    assert [records.claim().id for _ in modest] == modest


def test_late_caller_owes_nothing_for_the_time_before(records: Records) -> None:
    for _ in range(30):
        records.submit(caller="early")
    callers(records, 20)
    for _ in range(10):
        records.submit(caller="late")
    assert Counter(callers(records, 10)) == {"early": 5, "late": 5}


def test_idle_class_makes_up_for_nothing(records: Records) -> None:
    for _ in range(80):
        records.submit(priority="interactive")
    served(records, 40)
    batch = {records.submit(priority="batch").run_id for _ in range(20)}
    assert len(batch & {claim.id for claim in served(records, 17)}) <= 2


def test_given_back_work_is_paid_for_once(records: Records) -> None:
    for caller in ("one", "one", *["two"] * 5):
        records.submit(caller=caller, cost=100)
    claim = records.claim()
    records.give_back(claim)
    assert records.claim().id == claim.id
    assert sorted(callers(records, 2)) == ["one", "two"]
