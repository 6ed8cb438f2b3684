"""Joining: identical requests in flight are computed once, and each caller keeps a job of their own."""

from tests.support.store import Records


def test_the_same_question_asked_twice_is_computed_once(records: Records) -> None:
    first, second = records.submit("q"), records.submit("q")
    assert (second.run_id, second.cache) == (first.run_id, "COALESCED")
    assert records.waiting() == 1
    records.settle(records.claim())
    assert [records.view(v.id).status for v in (first, second)] == ["succeeded"] * 2
    assert records.view(first.id).result == records.view(second.id).result


def test_another_question_is_never_joined(records: Records) -> None:
    assert records.submit("q").run_id != records.submit("other").run_id


def test_another_caller_never_joins(records: Records) -> None:
    mine = records.submit("q")
    theirs = records.submit("q", caller="someone")
    assert theirs.run_id != mine.run_id


def test_a_running_question_is_joined_and_read_from_its_start(records: Records) -> None:
    records.submit("q")
    records.append(records.claim(), 0, "so far")
    late = records.submit("q")
    assert (late.status, late.started_ms) == ("running", late.created_ms)
    assert records.story(late.id) == ["queued", "running", "text"]


def test_an_ended_run_is_not_joined(records: Records) -> None:
    first = records.answered("q")
    assert records.submit("q").run_id != first.run_id


def test_nobody_joins_a_run_whose_last_caller_has_left(records: Records) -> None:
    first = records.submit("q")
    records.claim()
    records.cancel(first.id)
    second = records.submit("q")
    assert second.run_id != first.run_id
    assert second.status == "queued"


def test_a_run_has_room_for_500_and_the_next_caller_opens_another(records: Records) -> None:
    views = [records.submit("q") for _ in range(501)]
    assert len({v.run_id for v in views[:-1]}) == 1
    last = views[-1].run_id
    assert (views[-1].cache, last) != ("COALESCED", views[0].run_id)
    assert records.submit("q").run_id == last
    records.settle(records.claim())
    assert records.submit("q").run_id == last, "the old run's end took the new one out of reach"


def test_an_urgent_caller_pulls_the_shared_run_forward(records: Records) -> None:
    slow = records.submit("q", priority="batch")
    records.submit("other", priority="normal")
    records.submit("q", priority="interactive")
    assert records.claim().id == slow.run_id
    assert records.view(slow.id).priority == "batch", "the caller's own word was overwritten"


def test_a_patient_caller_does_not_hold_the_shared_run_back(records: Records) -> None:
    urgent = records.submit("q", priority="interactive")
    records.submit("other", priority="normal")
    records.submit("q", priority="batch")
    assert records.claim().id == urgent.run_id


def test_an_urgent_caller_of_a_running_run_counts_when_it_must_wait_again(records: Records) -> None:
    slow = records.submit("q", priority="batch")
    claim = records.claim()
    records.submit("other", priority="normal")
    records.submit("q", priority="interactive")
    records.give_back(claim)
    assert records.claim().id == slow.run_id


def test_a_question_is_asked_again_though_the_record_of_its_leader_was_lost(records: Records) -> None:
    records.client.delete(f"sl9:{records.submit('q').id}")
    assert records.submit("q").cache == "MISS"
