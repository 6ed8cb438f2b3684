"""Joining: identical requests in flight are computed once, and each caller keeps a job of their own."""

from tests.support.store import Records


def test_a_run_has_room_for_500_and_the_next_caller_opens_another(records: Records) -> None:
    views = [records.submit("q") for _ in range(501)]
    assert len({v.run_id for v in views[:-1]}) == 1
    last = views[-1].run_id
    assert (views[-1].cache, last) != ("COALESCED", views[0].run_id)
    assert records.submit("q").run_id == last
    records.settle(records.claim())
    assert records.submit("q").run_id == last, "the old run's end took the new one out of reach"


def test_a_question_is_asked_again_though_the_record_of_its_leader_was_lost(records: Records) -> None:
    records.client.delete(f"sl9:{records.submit('q').id}")
    assert records.submit("q").cache == "MISS"
