"""A batch's lines: each is taken once, answered once and counted once, whoever works on them and dies."""

from dataclasses import replace

import pytest

from shared.batch import Tokens, UntakenLines, WrittenRows
from shared.store import batches, files, jobs
from shared.store.headroom import holding
from tests.support.store import BROKEN, LANE, Records, answer
from tests.support.stored_batches import (
    BAD,
    BATCH,
    GOOD,
    LINE,
    REFUSAL,
    answered,
    begun,
    end,
    now,
    place,
    submit,
    take,
    write,
)


def test_a_line_is_taken_once_and_none_is_left_out(records: Records) -> None:
    begun(records)
    first = submit(records, 1)
    assert submit(records, 1) == "passed"
    assert submit(records, 3) == "passed"
    assert submit(records, 2).startswith("job_")
    batch = now(records)
    assert (batch.at, batch.row) == (2 * LINE, 2)
    assert records.view(first).status == "queued"


def test_a_line_that_the_line_has_no_room_for_is_taken_later(records: Records) -> None:
    begun(records)
    records.settings = records.settings.model_copy(
        update={"queue": records.settings.queue.model_copy(update={"max_queued": 1})}
    )
    records.submit()
    assert submit(records, 1) == "full"
    assert now(records).at == 0
    records.settle(records.claim())
    assert submit(records, 1).startswith("job_")


def test_how_a_line_ended_lies_with_the_batch_though_job_and_run_are_forgotten(records: Records) -> None:
    turn = begun(records)
    jobs_of_lines = [submit(records, number) for number in (1, 2, 3)]
    records.settle(records.claim(), answer("One."))
    records.settle(records.claim(), BROKEN)
    records.run(jobs.cancel(records.settings, "anyone", jobs_of_lines[2]))
    for job in jobs_of_lines:
        records.run(jobs.purge(records.settings, "anyone", job))
    found = answered(records, turn)
    assert found is not None
    by_number = {line.number: line for line in found}
    assert [by_number[n].status for n in (1, 2, 3)] == ["succeeded", "failed", "cancelled"]
    assert by_number[1].result == answer("One.")
    assert by_number[2].error == BROKEN
    assert [by_number[n].job for n in (1, 2, 3)] == jobs_of_lines
    assert by_number[3].custom_id == "line 3"
    assert by_number[1].created_ms == records.now


def test_an_answer_from_the_cache_and_one_that_is_shared_come_to_each_line(records: Records) -> None:
    turn = begun(records)
    records.beat()
    submit(records, 1, "q")
    submit(records, 2, "q")
    records.settle(records.claim())
    submit(records, 3, "q")
    found = answered(records, turn)
    assert found is not None
    assert sorted(line.number for line in found) == [1, 2, 3]
    assert not records.run(batches.under_way(turn))


def test_a_lines_error_names_the_callers_own_field(records: Records) -> None:
    turn = begun(records)
    records.post(
        records.placing(), line=place(1), paths={"images[0]": "messages[0].content[1].image_url.url"}
    )
    records.settle(records.claim(), BROKEN)
    found = answered(records, turn)
    assert found is not None
    assert found[0].error is not None
    assert found[0].error.param == "messages[0].content[1].image_url.url"


def test_a_refused_line_is_taken_and_answered_in_one_step(records: Records) -> None:
    turn = begun(records)
    for refused in (place(1), replace(place(2), custom_id="")):
        assert records.run(batches.refuse(turn, refused, REFUSAL)) == "written"
        before = records.dump()
        assert records.run(batches.refuse(turn, refused, REFUSAL)) == "written"
        assert records.dump() == before
    found = answered(records, turn)
    assert found is not None
    assert [
        (line.number, line.custom_id, line.status, line.error)
        for line in sorted(found, key=lambda line: line.number)
    ] == [
        (1, "line 1", "refused", REFUSAL),
        (2, None, "refused", REFUSAL),
    ]
    assert submit(records, 3).startswith("job_")


def test_lines_that_are_written_down_count_once_and_the_last_of_them_finishes_the_batch(
    records: Records,
) -> None:
    turn = begun(records)
    for number in (1, 2):
        submit(records, number)
        records.settle(records.claim())
    found = answered(records, turn)
    assert write(records, turn) == "written"
    before = records.dump()
    assert found is not None
    repeat = WrittenRows(tuple(line.number for line in found), 2, 0, 0, Tokens(9, 3, 1), good=GOOD)
    assert records.run(batches.wrote(turn, repeat)) == "written"
    assert records.dump() == before
    assert now(records).stage == "in_progress"
    records.run(batches.refuse(turn, place(3), REFUSAL))
    assert write(records, turn, completed=0, failed=1, good=None, bad=BAD) == "written"
    batch = now(records)
    assert (batch.stage, batch.completed, batch.failed) == ("finalizing", 2, 1)
    assert batch.tokens == Tokens(18, 6, 2)
    assert records.run(batches.pieces(turn)) == ([GOOD], [BAD])
    assert records.run(files.mark_deleted([GOOD, BAD])) == []


def test_lines_that_are_not_taken_any_more_count_once(records: Records) -> None:
    turn = begun(records)
    submit(records, 1)
    records.settle(records.claim())
    records.run(batches.cancel("anyone", BATCH))
    undone = WrittenRows((), 0, 2, 0, Tokens(), bad=BAD, undone=UntakenLines(LINE, 3 * LINE, 3))
    assert records.run(batches.wrote(turn, undone)) == "written"
    before = records.dump()
    assert records.run(batches.wrote(turn, undone)) == "written"
    assert records.dump() == before
    assert write(records, turn) == "written"
    batch = now(records)
    assert (batch.at, batch.row, batch.completed, batch.failed) == (3 * LINE, 3, 1, 2)
    assert end(records, turn) == "written"


def test_the_doubles_among_the_next_lines_are_told(records: Records) -> None:
    turn = begun(records, doubles=[1, 3])
    records.run(batches.refuse(turn, place(1), REFUSAL))
    records.wait(batches.LEASE_S)
    assert take(records).doubles == {3}


def test_a_line_whose_jobs_record_is_lost_ends_as_failed_and_its_batch_with_it(records: Records) -> None:
    turn = begun(records, total=2)
    lost, other = submit(records, 1), submit(records, 2)
    records.client.delete(f"sl7:{lost}")
    lines = records.run(batches.under_way(turn))
    assert lines is not None
    assert list(lines) == [lost, other]
    for _ in range(2):
        assert records.run(batches.lose(records.settings, turn, [lines[lost]])) == "written"
    found = answered(records, turn)
    assert found is not None
    assert [(line.number, line.status, line.error and line.error.code) for line in found] == [
        (1, "failed", "internal_error")
    ]
    assert records.client.hgetall(f"sl7:taken:{LANE}") == {"": "1", "anyone": "1"}


def test_many_large_answers_are_read_one_after_the_other(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = begun(records)
    for number in (1, 2, 3):
        submit(records, number)
        records.settle(records.claim())
    assert len(answered(records, turn) or ()) == 3
    monkeypatch.setattr(batches, "MOST_BYTES", 1)
    assert len(answered(records, turn) or ()) == 1


@pytest.mark.parametrize("question", ["", "shared"])
def test_a_lines_own_copy_of_its_answer_has_room_before_the_line_is_taken(
    records: Records, question: str
) -> None:
    begun(records)
    records.beat()
    rooms = []
    for number in (1, 2, 3):
        before = records.run(holding("anyone"))
        submit(records, number, question, room=100_000)
        rooms.append(records.run(holding("anyone")) - before)
    assert rooms[0] > 200_000
    assert min(rooms[1:]) > (100_000 if question else 200_000)
    while (claim := records.try_claim()) is not None:
        records.settle(claim)
    assert records.run(holding("anyone")) < 100_000
