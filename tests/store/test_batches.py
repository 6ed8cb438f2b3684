"""Batches: whose they are, who works on them, how they end."""

from dataclasses import replace
from typing import Any

import pytest

from shared.batch import Batch, LineProblem, Tokens, WrittenRows
from shared.file import Written
from shared.store import batches, files, jobs
from tests.support.existing import existing
from tests.support.store import Records
from tests.support.stored_batches import (
    BAD,
    BATCH,
    BYTES,
    FILE,
    GOOD,
    LINE,
    REFUSAL,
    begun,
    create,
    end,
    leave,
    lose,
    move,
    now,
    submit,
    take,
    try_take,
    upload,
    write,
)


def test_a_caller_s_many_batches_are_refused_until_some_have_ended(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST", 1)
    turn = begun(records, total=1)
    assert create(records, id="batch_0f") == ("many", None)
    assert create(records)[0] == "created", "a repeat is no other"
    records.run(batches.fail(records.settings, turn, [LineProblem("empty_file", "m")]))
    assert create(records, id="batch_0f")[0] == "created"


def test_a_batch_holds_its_input_though_the_file_is_deleted(records: Records) -> None:
    begun(records)
    assert records.run(files.delete("anyone", FILE)) == []
    assert records.run(files.mark_deleted([BYTES])) == []


def test_only_one_process_works_on_a_batch_until_it_is_not_heard_of(records: Records) -> None:
    upload(records)
    create(records)
    turn = take(records)
    assert try_take(records, "other") is None
    lose(records)
    other = take(records)
    assert leave(records, turn) == "lost"
    assert records.run(batches.begin(turn, total=1, last=1)) == "lost"
    assert leave(records, other) == "written"


def test_a_batch_that_is_left_is_taken_up_again_after_its_pause(records: Records) -> None:
    assert leave(records, begun(records), 1) == "written"
    assert try_take(records) is None
    records.wait(1)
    assert records.run(batches.leased(take(records))) == now(records)
    assert now(records).stage == "in_progress"


def test_who_has_many_batches_keeps_nobody_waiting_who_has_few(records: Records) -> None:
    upload(records)
    for number in range(4):
        create(records, id=f"batch_0{number}")
    few = Written("file-" + "3" * 32, "b.jsonl", "batch", 100, BYTES, 3600, "upload:2")
    records.run(files.create(few, "other"))
    create(records, "other", id=BATCH, file=few.id)
    turns = []
    for _ in range(8):
        turn = take(records)
        turns.append(turn.id)
        leave(records, turn)
    assert turns.count(BATCH) == 4
    assert set(turns) == {BATCH, *(f"batch_0{number}" for number in range(4))}


def test_a_batch_that_kills_who_takes_it_fails_alone_and_one_that_went_on_does_not(records: Records) -> None:
    upload(records)
    create(records)
    for _ in range(2):
        for _ in range(2):
            take(records)
            lose(records)
        leave(records, take(records))
    for _ in range(2):
        take(records)
        lose(records)
    take(records)
    records.client.zadd("sl9:lease:batch", {BATCH: 0})
    assert records.rescue() == [(BATCH, "")]
    batch = now(records)
    assert (batch.stage, [problem.code for problem in batch.errors]) == ("failed", ["poison"])


def test_a_process_that_lost_the_batch_writes_nothing_down(records: Records) -> None:
    turn = begun(records)
    submit(records, 1)
    records.settle(records.claim())
    move(records, turn, 1)
    lose(records)
    other = take(records)
    before = records.dump()
    assert write(records, turn, 1) == "lost"
    assert move(records, turn, 2, {2: REFUSAL}) == "lost"
    assert end(records, turn) == "lost"
    assert records.run(batches.leased(turn)) is None
    assert records.run(batches.known(turn, [1])) is None
    assert records.dump() == before
    assert write(records, other, 1) == "written"


def ended(records: Records, **how: Any) -> Batch:
    turn = begun(records, 1)
    submit(records, 1)
    move(records, turn, 1)
    if how.get("cancelled"):
        records.run(batches.cancel("anyone", BATCH))
    records.settle(records.claim())
    write(records, turn, 1, late=how.get("late", 0))
    assert end(records, turn) == "written"
    assert end(records, turn) == "lost"
    return now(records)


@pytest.mark.parametrize(
    ("how", "stage"), [({}, "completed"), ({"late": 1}, "expired"), ({"cancelled": True}, "cancelled")]
)
def test_a_batch_ends_with_its_files_and_leaves_nothing_else(
    records: Records, how: dict[str, Any], stage: str
) -> None:
    batch = ended(records, **how)
    assert (batch.stage, batch.stages_ms[stage], batch.error) == (stage, records.now, None)
    assert batch.output is not None
    output = existing(records.run(files.file("anyone", batch.output)))
    assert (output.purpose, output.name, output.size) == ("batch_output", "out.jsonl", 5)
    assert set(records.client.keys(f"sl9:{BATCH}*")) - {f"sl9:{BATCH}:ended"} == {f"sl9:{BATCH}"}
    assert records.client.keys("sl9:batching*") + records.client.keys("sl9:lease:batch") == []
    assert records.client.ttl(f"sl9:{BATCH}") == records.given(3600)
    assert records.run(files.mark_deleted([GOOD, output.digest])) == [GOOD]
    assert try_take(records) is None


def test_lines_that_are_written_count_once_and_the_last_of_them_finishes_the_batch(records: Records) -> None:
    turn = begun(records)
    assert [submit(records, number)[:4] for number in (1, 2)] == ["job_", "job_"]
    taken, before = batches.take(turn, now(records), _row(records, 3), {3: REFUSAL}), now(records)
    assert records.run(taken) == records.run(taken) == "written"
    assert (now(records).row, now(records).at, before.row) == (3, 3 * LINE, 0)
    assert records.run(batches.known(turn, [1, 2, 3])) == {3: REFUSAL}
    wrote = WrittenRows((1, 2), 2 * LINE, 2, 0, 0, Tokens(9, 3, 1), good=GOOD)
    first = batches.write(turn, now(records), wrote)
    assert records.run(first) == "written"
    dump = records.dump()
    assert records.run(first) == "written"
    assert records.dump() == dump
    assert now(records).stage == "in_progress"
    assert write(records, turn, 3, completed=0, failed=1, good=None, bad=BAD) == "written"
    batch = now(records)
    assert (batch.stage, batch.completed, batch.failed, batch.written) == ("finalizing", 2, 1, 3)
    assert batch.tokens == Tokens(18, 6, 2)
    assert records.run(batches.pieces(turn)) == ([GOOD], [BAD])
    assert records.run(batches.known(turn, [3])) == {}
    assert records.run(files.mark_deleted([GOOD, BAD])) == []
    assert end(records, turn) == "written"
    assert records.run(files.mark_deleted([GOOD, BAD])) == [GOOD, BAD]


def _row(records: Records, row: int) -> Batch:
    return replace(now(records), row=row, at=row * LINE)


def test_a_line_that_is_submitted_again_is_the_same_job_also_after_its_end(records: Records) -> None:
    begun(records)
    first = submit(records, 1)
    assert submit(records, 1) == first
    records.settle(records.claim())
    assert submit(records, 1) == first
    assert records.try_claim() is None


def test_the_doubles_among_the_next_lines_are_told(records: Records) -> None:
    turn = begun(records, doubles=[1, 3])
    move(records, turn, 1, {1: REFUSAL})
    assert records.run(batches.doubles(turn, now(records), 9)) == frozenset({3})


def test_an_answer_waits_for_its_batch_though_its_caller_sees_it_no_longer(records: Records) -> None:
    turn = begun(records)
    job = submit(records, 1, line=records.now + 90_000_000, retain_s=60)
    records.settle(records.claim())
    records.wait(3600)
    assert records.run(jobs.view(records.settings, "anyone", job)) is None
    kept = existing(records.run(jobs.view(records.settings, "anyone", job, line=True)))
    assert kept.result is not None
    write(records, turn, 1, jobs=(job,))
    assert records.client.pttl(f"sl9:{job}") <= 1
    assert records.client.pttl(f"sl9:{kept.run_id}") <= 1


def test_a_batch_that_has_ended_is_not_cancelled(records: Records) -> None:
    batch = ended(records)
    assert records.run(batches.cancel("anyone", BATCH)) == batch


def test_a_batch_that_waits_for_its_turn_is_taken_up_at_once_when_it_is_cancelled(records: Records) -> None:
    leave(records, begun(records), 60)
    records.run(batches.cancel("anyone", BATCH))
    take(records)
    assert now(records).stage == "cancelling"


def test_a_cancelled_batch_stays_with_the_process_that_works_on_it(records: Records) -> None:
    turn = begun(records)
    records.run(batches.cancel("anyone", BATCH))
    assert try_take(records, "other") is None
    assert leave(records, turn) == "written"


def test_a_batch_does_not_end_before_its_last_row(records: Records) -> None:
    turn = begun(records, 2)
    assert end(records, turn) == "lost"
    write(records, turn, 1)
    assert end(records, turn) == "lost"
    assert now(records).stage == "in_progress"


def test_bytes_of_a_batch_are_missing_since_the_first_turn_that_missed_them(records: Records) -> None:
    def miss(after_s: float) -> int | None:
        records.wait(after_s)
        turn = take(records)
        records.run(batches.miss(turn, gone=False))
        records.run(batches.give_back(records.settings, turn, 0, found=False))
        return now(records).missing_ms

    leave(records, begun(records))
    assert miss(0) == miss(59) == records.now - 59_000
    leave(records, take(records))
    assert miss(1) == records.now


def test_a_batch_is_read_back_by_its_caller_and_by_nobody_else(records: Records) -> None:
    upload(records)
    word, made = create(records)
    assert (word, made) == ("created", now(records))
    assert made is not None
    assert (made.stage, made.total, made.metadata) == ("validating", None, {"k": "v"})
    assert made.expires_ms == records.now + 86_400_000
    assert records.run(batches.batch("other", BATCH)) is None
    assert records.run(batches.batch("anyone", FILE)) is None
    assert records.run(batches.cancel("other", BATCH)) is None
    assert records.run(batches.batches("other", after=None, limit=9)) == []
    assert records.run(batches.batches("anyone", after=None, limit=9)) == [made]
    assert records.run(batches.batches("anyone", after=BATCH, limit=9)) == []
    assert records.run(batches.batches("anyone", after="batch_0", limit=9)) is None
