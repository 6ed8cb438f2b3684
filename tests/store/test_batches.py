"""Batches: whose they are, who works on them, how they end."""

from typing import Any

import pytest

from shared.batch import Batch, LineProblem, Tokens, WrittenRows
from shared.file import Written
from shared.store import batches, files, jobs
from tests.support.existing import existing
from tests.support.store import Records
from tests.support.stored_batches import (
    BATCH,
    BYTES,
    GOOD,
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


def test_only_one_process_works_on_a_batch(records: Records) -> None:
    upload(records)
    create(records)
    turn = take(records)
    assert try_take(records, "other") is None
    lose(records)
    other = take(records)
    assert (leave(records, turn), leave(records, other)) == ("lost", "written")


def test_repeated_rows_of_a_batch_count_once(records: Records) -> None:
    turn = begun(records, 2)
    move(records, turn, 2)
    assert end(records, turn) == "lost", "its rows are still to be written"
    before = now(records)
    for _ in range(2):
        wrote = WrittenRows((1,), 10, 1, 0, 0, Tokens(9, 3, 1), good=GOOD)
        assert records.run(batches.write(turn, before, wrote)) == "written"
    assert (now(records).completed, now(records).tokens) == (1, Tokens(9, 3, 1))


def test_cancelled_batch_does_not_await_its_turn(records: Records) -> None:
    leave(records, begun(records), 60)
    records.run(batches.cancel("anyone", BATCH))
    take(records)
    assert now(records).stage == "cancelling"
