"""How much of a line is for batches: a part of each model's, so that others find room, and other batches."""

import pytest

from shared.batch import LineProblem
from shared.file import Written
from shared.settings import Settings
from shared.store import batches, files
from tests.support.store import Records
from tests.support.stored_batches import BYTES, LINE, begun, create, place, submit, take, upload, write


def limited(settings: Settings, **limits: int) -> Settings:
    return settings.model_copy(update={"queue": settings.queue.model_copy(update=limits)})


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        ({"max_queued": 16, "max_queued_caller": 8}, "crowded"),
        ({"max_queued": 8, "max_queued_caller": 8}, "full"),
    ],
)
def test_batches_leave_room_in_the_line_for_others(
    records: Records, limits: dict[str, int], word: str
) -> None:
    records.settings = limited(records.settings, **limits)
    turn = begun(records)
    submit(records, 1)
    submit(records, 2)
    assert submit(records, 3) == word
    records.run(batches.renew(turn, 0, leave=True))
    turn = take(records)
    assert turn.room == 0
    records.settle(records.claim())
    write(records, turn)
    records.run(batches.renew(turn, 0, leave=True))
    turn = take(records)
    assert turn.room == batches.WINDOW - 1
    assert submit(records, 3).startswith("job_")
    # No line waits for this model now; the next one may be for another.
    records.run(batches.renew(turn, 0, leave=True))
    assert take(records).room == batches.WINDOW - 2


def test_the_share_of_a_key_with_a_quota_of_its_own_is_less(records: Records) -> None:
    upload(records)
    create(records, max_queued=4)
    turn = take(records)
    records.run(batches.begin(turn, total=2, last=2 * LINE))
    words = [
        records.post(records.placing(), line=place(number), max_queued_caller=4).word for number in (1, 2)
    ]
    assert words == ["queued", "crowded"]
    records.run(batches.renew(turn, 0, leave=True))
    assert take(records).room == 0


def test_one_caller_s_lines_leave_another_caller_s_batch_its_own_share(records: Records) -> None:
    records.settings = limited(records.settings, max_queued=32, max_queued_caller=8)
    begun(records)
    assert [submit(records, number)[:4] for number in (1, 2)] == ["job_", "job_"]
    records.run(files.create(Written("file-02", "b.jsonl", "batch", 100, BYTES, 3600, "upload:2"), "other"))
    create(records, "other", id="batch_02", file="file-02")
    turn = take(records)
    records.run(batches.begin(turn, total=3, last=3 * LINE))
    words = [
        records.post(records.placing(caller="other"), line=place(number, "batch_02"), quiet=True).word
        for number in (1, 2, 3)
    ]
    assert words == ["queued", "queued", "crowded"]


def test_lines_for_a_model_that_answers_none_stop_no_lines_for_others(records: Records) -> None:
    records.settings = limited(records.settings, max_queued=4)
    turn = begun(records)
    assert submit(records, 1, model="org/other", lane="model.org--other").startswith("job_")
    records.run(batches.renew(turn, 0, leave=True))
    assert take(records).room == batches.WINDOW - 1
    assert submit(records, 2).startswith("job_")


def test_lines_whose_pictures_are_fetched_leave_room_in_that_line_too(records: Records) -> None:
    records.settings = limited(records.settings, max_queued_caller=8)
    begun(records)
    words = []
    for number in (1, 2, 3):
        placing = records.placing(key=None, model=f"org/{number}", lane=f"model.org--{number}")
        words.append(records.post(placing, line=place(number), pending_terms="{}").word)
    assert words == ["intake", "intake", "crowded"]


def test_jobs_of_a_batch_that_failed_have_their_part_of_the_line_until_they_end(records: Records) -> None:
    records.settings = limited(records.settings, max_queued_caller=8)
    for number, failed in enumerate((True, False)):
        upload(records)
        create(records, id=f"batch_0{number}")
        turn = take(records)
        records.run(batches.begin(turn, total=3, last=3 * LINE))
        if failed:
            for line in (1, 2):
                records.post(records.placing(), line=place(line, "batch_00"), quiet=True)
            records.run(batches.fail(records.settings, turn, [LineProblem("file_not_found", "m")]))
    assert records.audit() == {}
    assert records.post(records.placing(), line=place(1, "batch_01"), quiet=True).word == "crowded"
    records.settle(records.claim())
    assert records.post(records.placing(), line=place(1, "batch_01"), quiet=True).word == "queued"
