"""Batches: whose they are, who works on them, how they end."""

from typing import Any

import pytest

from shared.batch import Batch, LineProblem, Tokens, WrittenRows
from shared.file import Written
from shared.store import audit, batches, files
from tests.support.store import Records
from tests.support.stored_batches import (
    BAD,
    BATCH,
    BYTES,
    FILE,
    GOOD,
    REFUSAL,
    begun,
    create,
    end,
    now,
    place,
    submit,
    take,
    upload,
    write,
)


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


def test_a_batch_needs_a_file_of_its_callers_that_is_meant_for_one(records: Records) -> None:
    assert create(records) == ("missing", None)
    upload(records, purpose="vision")
    assert create(records, "other") == ("missing", None)
    assert create(records) == ("purpose", None)


def test_a_caller_s_many_batches_are_refused_until_some_have_ended(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST", 1)
    turn = begun(records, total=1)
    assert create(records, id="batch_0f") == ("many", None)
    assert create(records)[0] == "created", "a repeat is no other"
    records.run(batches.fail(records.settings, turn, [LineProblem("empty_file", "m")]))
    assert create(records, id="batch_0f")[0] == "created"


def test_making_a_batch_twice_changes_nothing(records: Records) -> None:
    upload(records)
    create(records)
    before = records.dump()
    assert create(records, metadata={})[0] == "created"
    assert records.dump() == before


def test_a_batch_holds_its_input_though_the_file_is_deleted(records: Records) -> None:
    begun(records)
    assert records.run(files.delete("anyone", FILE)) == []
    assert records.run(files.mark_deleted([BYTES])) == []


def test_only_one_process_works_on_a_batch_until_it_is_not_heard_of(records: Records) -> None:
    upload(records)
    create(records)
    turn = take(records)
    wait_s = records.run(batches.take(records.settings, records.token()))
    assert wait_s == batches.LEASE_S
    records.wait(batches.LEASE_S)
    other = take(records)
    assert records.run(batches.renew(turn, 10)) == "lost"
    assert records.run(batches.begin(turn, total=1, last=1)) == "lost"
    assert records.run(batches.renew(other, 10)) == "written"


def test_a_batch_that_is_left_is_taken_up_again_after_its_pause(records: Records) -> None:
    turn = begun(records)
    assert records.run(batches.renew(turn, 1, leave=True)) == "written"
    assert records.run(batches.take(records.settings, records.token())) == 1.0
    records.wait(1)
    assert take(records).batch.stage == "in_progress"


def test_nobody_works_where_there_is_no_batch(records: Records) -> None:
    assert records.run(batches.take(records.settings, records.token())) is None


def test_who_has_many_batches_keeps_nobody_waiting_who_has_few(records: Records) -> None:
    upload(records)
    for number in range(4):
        create(records, id=f"batch_0{number}")
        records.wait(1)
    few = Written("file-" + "3" * 32, "b.jsonl", "batch", 100, BYTES, 3600, "upload:2")
    records.run(files.create(few, "other"))
    create(records, "other", id=BATCH, file=few.id)
    turns = []
    for _ in range(5):
        turn = take(records)
        turns.append(turn.batch.id)
        records.run(batches.renew(turn, 0, leave=True))
        records.wait(1)
    assert turns == ["batch_00", BATCH, "batch_01", BATCH, "batch_02"]
    assert audited(records) == {}


def test_a_process_that_lost_the_batch_writes_nothing_down(records: Records) -> None:
    turn = begun(records)
    submit(records, 1)
    records.settle(records.claim())
    records.wait(batches.LEASE_S)
    other = take(records)
    before = records.dump()
    wrote = WrittenRows((1,), 1, 0, 0, Tokens(), good=GOOD)
    assert records.run(batches.wrote(turn, wrote)) == "lost"
    assert records.run(batches.refuse(turn, place(2), REFUSAL)) == "lost"
    assert end(records, turn) == "lost"
    assert records.run(batches.ended(turn, 64)) is None
    assert records.run(batches.answers(turn, ["1"])) is None
    assert records.run(batches.under_way(turn)) is None
    assert records.run(batches.pieces(turn)) is None
    assert records.dump() == before
    assert write(records, other) == "written"


def ended(records: Records, **how: Any) -> Batch:
    turn = begun(records, 1)
    submit(records, 1)
    if how.get("cancelled"):
        records.run(batches.cancel("anyone", BATCH))
    records.settle(records.claim())
    write(records, turn, late=how.get("late", 0))
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
    output = records.run(files.file("anyone", batch.output))
    assert output is not None
    assert (output.purpose, output.name, output.size) == ("batch_output", "out.jsonl", 5)
    assert set(records.client.keys(f"sl7:{BATCH}*")) - {f"sl7:{BATCH}:ended"} == {f"sl7:{BATCH}"}
    assert records.client.keys("sl7:batching") + records.client.keys("sl7:taken*") == []
    assert records.client.ttl(f"sl7:{BATCH}") == records.given(3600)
    assert records.run(files.mark_deleted([GOOD, output.digest])) == [GOOD]
    assert records.run(batches.take(records.settings, records.token())) is None


def test_a_file_without_a_line_fails_its_batch(records: Records) -> None:
    problem = LineProblem("empty_file", "It is empty.")
    upload(records)
    create(records)
    turn = take(records)
    assert records.run(batches.fail(records.settings, turn, [problem])) == "written"
    assert records.run(batches.fail(records.settings, turn, [problem])) == "lost"
    batch = now(records)
    assert (batch.stage, batch.total, batch.errors) == ("failed", None, (problem,))
    assert records.run(batches.take(records.settings, records.token())) is None
    assert records.run(files.mark_deleted([BYTES])) == [], "the file itself is still there"


def test_looking_through_a_file_twice_changes_nothing(records: Records) -> None:
    turn = begun(records, doubles=[2])
    before = records.dump()
    assert records.run(batches.begin(turn, total=9, last=9)) == "written"
    assert records.dump() == before


def test_a_cancelled_batch_takes_no_more_lines_and_keeps_what_was_done(records: Records) -> None:
    turn = begun(records)
    submit(records, 1)
    asked = records.run(batches.cancel("anyone", BATCH))
    assert asked is not None
    assert asked.stage == "cancelling"
    assert records.run(batches.cancel("anyone", BATCH)) == asked
    assert submit(records, 2) == "passed"
    assert len(records.run(batches.under_way(turn)) or []) == 1
    records.settle(records.claim())
    write(records, turn)
    assert now(records).stage == "cancelling"


def test_a_batch_that_has_ended_is_not_cancelled(records: Records) -> None:
    batch = ended(records)
    assert records.run(batches.cancel("anyone", BATCH)) == batch


def test_a_batch_that_waits_for_a_look_at_its_file_can_be_cancelled(records: Records) -> None:
    upload(records)
    create(records)
    asked = records.run(batches.cancel("anyone", BATCH))
    assert asked is not None
    assert (asked.stage, take(records).batch.stage) == ("cancelling", "cancelling")


def test_a_batch_cancelled_before_anybody_looked_at_it_is_taken_up_at_once(records: Records) -> None:
    turn = begun(records)
    records.run(batches.renew(turn, 60, leave=True))
    records.run(batches.cancel("anyone", BATCH))
    assert take(records).batch.stage == "cancelling"


def test_the_audit_finds_nothing_wrong_with_batches(records: Records) -> None:
    begun(records, doubles=[2])
    submit(records, 1)
    assert audited(records) == {}


def audited(records: Records) -> dict[str, int]:
    names = [key.removeprefix("sl7:") for key in records.client.keys("sl7:*")]
    return records.run(audit.audit(records.settings, names))


def test_a_batch_does_not_end_before_its_last_line(records: Records) -> None:
    turn = begun(records, 2)
    submit(records, 1)
    assert end(records, turn) == "lost"
    records.settle(records.claim())
    write(records, turn)
    assert end(records, turn) == "lost"
    assert now(records).stage == "in_progress"


def test_no_line_is_taken_when_the_window_has_closed(records: Records) -> None:
    begun(records, 2)
    records.wait(86_400)
    assert submit(records, 1) == "passed"


def test_bytes_of_a_batch_are_given_up_only_where_they_were_missing_all_the_time(records: Records) -> None:
    def miss(after_s: float) -> bool:
        records.wait(after_s)
        assert records.run(batches.miss(take(records), 60)) == "written"
        return now(records).gone

    turn = begun(records)
    records.run(batches.renew(turn, 0, leave=True))
    assert [miss(after_s) for after_s in (0, 59)] == [False, False]
    records.wait(batches.LEASE_S)
    records.run(batches.renew(take(records), 0, leave=True))
    assert [miss(after_s) for after_s in (0, 59, 60)] == [False, False, True]


def test_a_cancelled_batch_stays_with_the_process_that_works_on_it(records: Records) -> None:
    turn = begun(records)
    records.run(batches.cancel("anyone", BATCH))
    assert records.run(batches.take(records.settings, records.token())) == batches.LEASE_S
    assert records.run(batches.renew(turn, 10)) == "written"


def test_the_pieces_of_an_error_file_are_held_no_longer_than_the_batch(records: Records) -> None:
    turn = begun(records, 1)
    submit(records, 1)
    records.settle(records.claim(), REFUSAL)
    assert write(records, turn, completed=0, failed=1, good=None, bad=BAD) == "written"
    assert records.run(files.mark_deleted([BAD])) == []
    assert end(records, turn) == "written"
    assert records.run(files.mark_deleted([BAD])) == [BAD]
