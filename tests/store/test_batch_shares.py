"""How much of a queue is for batches: a part of each model's, so that others find room, and other batches."""

from tests.support.store import Records
from tests.support.stored_batches import submit


def test_a_line_that_is_submitted_again_is_found_though_there_is_no_room(records: Records) -> None:
    records.set_queue(max_queued=4)
    first = submit(records, 1)
    assert (submit(records, 2), submit(records, 1)) == ("full", first)


def test_a_line_that_shares_a_computation_needs_no_room(records: Records) -> None:
    records.set_queue(max_queued=4)
    assert [submit(records, number, "q")[:4] for number in (1, 2)] == ["job_", "job_"]


def test_the_share_of_a_key_with_a_quota_of_its_own_is_less(records: Records) -> None:
    assert submit(records, 1, max_queued_caller=4).startswith("job_")
    assert submit(records, 2, max_queued_caller=4) == "crowded"


def test_who_has_nothing_in_the_queue_is_not_kept_out_by_who_has_much(records: Records) -> None:
    records.set_queue(max_queued=8)
    assert [submit(records, number)[:4] for number in (1, 2, 3)] == ["job_", "job_", "full"]
    assert [submit(records, n, batch="batch_02", caller="other")[:4] for n in (1, 2)] == ["job_", "full"]


def test_lines_for_a_model_that_answers_none_stop_no_lines_for_others(records: Records) -> None:
    records.set_queue(max_queued=4)
    assert submit(records, 1, model="org/other", lane="model.org--other").startswith("job_")
    assert submit(records, 2).startswith("job_")


def test_lines_whose_pictures_are_fetched_leave_room_in_that_queue_too(records: Records) -> None:
    records.set_queue(max_queued_caller=8)
    words = [
        submit(records, n, key=None, model=f"org/{n}", lane=f"model.org--{n}", pending_terms="{}")
        for n in (1, 2, 3)
    ]
    assert [word[:4] for word in words] == ["job_", "job_", "crow"]
