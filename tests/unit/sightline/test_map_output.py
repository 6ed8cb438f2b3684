"""What a map keeps between two starts and what it leaves at its end; no service."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sightline.exits import CommandError, Exit
from sightline.mapping.journal import Journal
from sightline.mapping.media import RowError
from sightline.mapping.output import check_output, check_replaced, write_output
from sightline.mapping.question import Question
from sightline.mapping.rows import Row, receipt_of

QUESTION = Question("What is it?", "model")
KEYS = [f"{n}{n}" * 32 for n in range(9)]
PASSES = {"code": "queue_full", "message": "", "retryable": True}


def record(**more: Any) -> Any:
    return {"columns": {}, "answer": "a", "error": None, "job": "job_1", "tries": 1, **more}


def written(output: Path, *records: Any, left_out: Any = None) -> Any:
    with Journal(output.with_name("journal"), QUESTION.digest) as journal:
        for key, line in zip(KEYS, records, strict=False):
            journal.add(key, line)
        keys = bytearray.fromhex("".join(KEYS[: len(records)]))
        return write_output(output, keys, journal, QUESTION, left_out or {})


def test_a_line_that_a_kill_cut_off_is_dropped_and_the_rest_is_known(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, "question") as journal:
        for key in KEYS[:2]:
            journal.add(key, record(answer=key))
    path.write_bytes(path.read_bytes() + b'{"key": "22')
    with Journal(path, "question") as journal:
        assert [journal.done(key) for key in KEYS[:3]] == [True, True, False]
        journal.add(KEYS[2], record(answer="again", columns={"score": float("nan"), "most": float("inf")}))
    with Journal(path, "question") as journal:
        assert journal.read(KEYS[2])["answer"] == "again"
        assert journal.read(KEYS[2])["columns"] == {"score": None, "most": None}, "JSON has no such numbers"
        assert journal.read(KEYS[0])["answer"] == KEYS[0]


def test_a_journal_whose_heading_was_cut_off_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"versi')
    with Journal(path, "question") as journal:
        journal.add(KEYS[0], record())
    with pytest.raises(CommandError, match="another question"):
        Journal(path, "other")
    assert json.loads(path.read_bytes().splitlines()[0])["question"] == "question"


def test_a_failure_that_may_pass_is_asked_again_and_no_other(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", "question") as journal:
        journal.add(KEYS[0], record(error=PASSES, tries=3))
        journal.add(KEYS[1], record(error={**PASSES, "retryable": False}))
    with Journal(tmp_path / "journal", "question") as journal:
        assert [journal.done(key) for key in KEYS[:3]] == [False, True, False]
        assert [journal.tries(key) for key in KEYS[:3]] == [3, 0, 0]
        journal.add(KEYS[0], record())
        assert journal.done(KEYS[0])
        assert not journal.failed(KEYS[0])


def test_what_is_asked_names_the_same_job_after_any_restart_and_another_row_never_does() -> None:
    question = Question("What is {name}?", "model")
    key = question.key(Row({"name": "a", "n": 1}, None))
    assert Question("What is {name}?", "model").key(Row({"n": 1, "name": "a"}, None)) == key
    others = [
        question.key(Row({"name": "b", "n": 1}, None)),
        question.key(Row({"name": "a", "n": 2}, None)),
        Question("What is {name}?", "model", max_tokens=5).key(Row({"name": "a", "n": 1}, None)),
    ]
    assert len({key, *others}) == 4
    with pytest.raises(RowError):
        question.text(Row({"n": 1}))


def test_an_input_is_not_replaced_by_its_answers(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}")
    with pytest.raises(CommandError, match="part of the input"):
        check_replaced(rows, str(rows), QUESTION)
    (tmp_path / "ROWS.jsonl").hardlink_to(rows)  # As a disk that ignores case has it.
    receipt_of(rows).write_text(json.dumps({"question": QUESTION.digest}))
    with pytest.raises(CommandError, match="part of the input"):
        check_replaced(rows, str(tmp_path / "ROWS.jsonl"), QUESTION)
    (tmp_path / "train.parquet").write_bytes(b"theirs")
    with pytest.raises(CommandError, match="part of the input"):
        check_replaced(tmp_path / "train.parquet", str(tmp_path), QUESTION)
    check_replaced(rows, "s3://bucket/photos", QUESTION)


@pytest.mark.parametrize("receipt", ["", "[]", "{}", '{"question": "theirs"}'])
def test_the_answers_of_somebody_else_in_the_folder_are_not_replaced(tmp_path: Path, receipt: str) -> None:
    output = tmp_path / "train.parquet"
    output.write_bytes(b"theirs")
    receipt_of(output).write_text(receipt)
    with pytest.raises(CommandError, match=r"train\.parquet is part of the input"):
        check_replaced(output, str(tmp_path), QUESTION)


@pytest.mark.parametrize("name", ["out.csv", "out.csv.journal", "out.csv.receipt.json"])
def test_an_output_in_whose_place_is_no_file_is_refused_before_anything_is_asked(
    tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(CommandError, match=f"{name} is no file"):
        check_output(tmp_path / "out.csv")


@pytest.mark.parametrize("name", ["/", ".", "..", "no/out.csv", f"{'o' * 240}.csv", "out.txt"])
def test_a_bad_output_path_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="output") as refused:
        check_output(tmp_path / name)
    assert refused.value.code is Exit.USAGE


def test_a_journal_that_is_a_link_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, journal = tmp_path / "victim", tmp_path / "out.csv.journal"
    victim.write_bytes(b"theirs")
    journal.symlink_to(victim)
    with pytest.raises(CommandError, match=f"{journal} is a symbolic link"):
        Journal(journal, "question")
    # It may become one after the look.
    monkeypatch.setattr(Path, "is_symlink", lambda _: False)
    with pytest.raises(CommandError, match=f"{journal} cannot be written"):
        Journal(journal, "question")
    assert victim.read_bytes() == b"theirs"


def test_a_map_killed_at_its_end_leaves_a_receipt_and_no_output_without_one(tmp_path: Path) -> None:
    """A folder at a file's place stands for a kill before it is put there."""

    def end(output: Path) -> None:
        with Journal(tmp_path / f"{output.name}.journal", QUESTION.digest) as journal:
            journal.add(KEYS[0], record(values={}))
            with pytest.raises(CommandError, match=f"{output} cannot be written"):
                write_output(output, bytearray.fromhex(KEYS[0]), journal, QUESTION, {})

    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    receipt_of(first).mkdir()
    end(first)
    second.mkdir()
    end(second)
    assert not first.exists()
    assert json.loads(receipt_of(second).read_bytes())["answered"] == 1
    assert not list(tmp_path.glob("*.part"))


def test_every_column_of_the_input_stays_also_one_called_like_an_answer(tmp_path: Path) -> None:
    rows = [record(columns={"answer": "theirs", "n": 1}), record(columns={"late": ["x"]}, answer='a "b"\n')]
    written(tmp_path / "out.csv", *rows)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first == {"answer": "theirs", "n": "1", "late": "", "answer_2": "a", "error": "", "job": "job_1"}
    assert (second["late"], second["answer_2"]) == ('["x"]', 'a "b"\n')


def test_the_receipt_says_why_rows_failed_and_what_was_left_out(tmp_path: Path) -> None:
    error = {"code": "invalid_image", "message": "It is cut.", "retryable": False}
    cut = [record(error=error, columns={"file": f"{n}.png"}) for n in range(7)]
    empty = record(error={**error, "message": "It is empty."})
    receipt = written(tmp_path / "out.jsonl", empty, *cut, record(), left_out={"why": {".x": 2}})
    assert (receipt.rows, receipt.answered, receipt.failed) == (9, 1, 8)
    names = [f"{n}.png" for n in range(5)]
    assert receipt.failures == [
        {"code": "invalid_image", "message": "It is cut.", "count": 7, "rows": names},
        {"code": "invalid_image", "message": "It is empty.", "count": 1, "rows": ["row 1"]},
    ]
    assert (receipt.left_out, receipt.file) == ({"why": {".x": 2}}, str(tmp_path / "out.jsonl"))


@pytest.mark.parametrize(
    "damage",
    [
        b"nonsense\n",
        b"[]\n",
        b"\0\0\n",
        b'{"key": 7, "error": null}\n',
        b'{"key": "00", "columns": 3, "error": null, "job": null, "tries": 1}\n',
        b'{"key": "00", "columns": {}, "error": {"retryable": false}, "job": null, "tries": 1}\n',
        b'{"key": "00", "columns": {}, "values": 3, "error": null, "job": null, "tries": 1}\n',
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_damaged_journal_is_one_sentence(tmp_path: Path, damage: bytes, place: int) -> None:
    path = tmp_path / "journal"
    with Journal(path, "question") as journal:
        journal.add(KEYS[0], record())
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place] = damage
    path.write_bytes(b"".join(lines))
    with pytest.raises(CommandError, match=r"is damaged|another question"):
        Journal(path, "question")
