"""What a map keeps between two starts, what it reads and what it leaves out; no service."""

import csv
import gc
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
from PIL import Image
from pyarrow import parquet

from sightline.exits import CommandError
from sightline.mapping.journal import Journal
from sightline.mapping.media import MOST_MB, RowError
from sightline.mapping.output import check_output, check_replaced, write_output
from sightline.mapping.question import Question
from sightline.mapping.rows import Row, receipt_of, source
from sightline.mapping.tables import READ
from tests.support.documents import pdf
from tests.support.pictures import picture
from tests.support.service import ROOT

QUESTION = Question("What is it?", "model")
PAGE_NUMBER = 297
KEYS = ["00" * 32, "11" * 32, "22" * 32]
PASSES = {"code": "queue_full", "message": "", "retryable": True}


def record(**more: Any) -> Any:
    return {"columns": {}, "answer": "a", "error": None, "job": "job_1", "tries": 1, **more}


def test_a_line_that_a_kill_cut_off_is_dropped_and_the_rest_is_known(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, "question") as journal:
        for key in KEYS[:2]:
            journal.add(key, record(answer=key))
    path.write_bytes(path.read_bytes() + b'{"key": "22')
    with Journal(path, "question") as journal:
        assert [journal.done(key) for key in KEYS] == [True, True, False]
        journal.add(KEYS[2], record(answer="again"))
    with Journal(path, "question") as journal:
        assert journal.read(KEYS[2])["answer"] == "again"
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
        assert [journal.done(key) for key in KEYS] == [False, True, False]
        assert [journal.tries(key) for key in KEYS] == [3, 0, 0]
        journal.add(KEYS[0], record())
        assert journal.done(KEYS[0])
        assert not journal.failed(KEYS[0])


def test_a_number_that_json_has_not_leaves_the_output_readable(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", "question") as journal:
        journal.add(KEYS[0], record(columns={"score": float("nan"), "most": float("inf")}))
        assert journal.read(KEYS[0])["columns"] == {"score": None, "most": None}


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


def test_a_program_maps_without_the_rest_of_the_service() -> None:
    """Installed, the service's packages are not on a program's path."""
    look = "import sys, sightline.mapping.run; print({'shared', 'api', 'worker', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "set()"


def test_a_glob_names_pictures_only_and_not_what_the_map_itself_writes(tmp_path: Path) -> None:
    for name in ("a.png", "answers.jsonl", "answers.jsonl.journal"):
        (tmp_path / name).write_bytes(b"")
    rows = source(f"{tmp_path}/*").rows()
    assert [row.columns["file"] for row in rows] == [f"{tmp_path}/a.png"]


@pytest.mark.parametrize("place", ["", "/*"])
def test_what_is_no_file_fails_alone_and_holds_nothing_up(tmp_path: Path, place: str) -> None:
    (tmp_path / "a.png").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("c.png")
    (tmp_path / "d.png").symlink_to("e.png")
    (tmp_path / "e.png").write_bytes(b"GIF89a")
    *others, linked, named = source(f"{tmp_path}{place}").rows()
    for row in others:
        with pytest.raises(OSError, match=r"is no file|symbolic links"):
            QUESTION.key(row)
    assert len(others) == 3
    assert QUESTION.body(linked) == QUESTION.body(named)


def test_a_table_of_strangers_cannot_send_a_file_that_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "id_rsa").write_bytes(b"secret")
    (tmp_path / "rows.jsonl").write_text('{"image": "id_rsa"}')
    [row] = source(str(tmp_path / "rows.jsonl")).rows()
    with pytest.raises(RowError, match="no picture, document, sound or video"):
        QUESTION.body(row)


def test_a_link_to_a_folder_above_hides_no_picture(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert source(str(tmp_path)).count() == 1


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


def test_an_earlier_output_in_the_folder_does_not_hide_its_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "answers.parquet"):
        (tmp_path / name).write_bytes(b"")
    receipt_of(tmp_path / "answers.parquet").write_text(json.dumps({"question": QUESTION.digest}))
    check_replaced(tmp_path / "answers.parquet", str(tmp_path), QUESTION)
    assert [row.columns["file"] for row in source(str(tmp_path)).rows()] == ["a.png"]


def test_an_earlier_output_is_no_table_of_its_folder(tmp_path: Path) -> None:
    for name in ("metadata.jsonl", "metadata.jsonl.receipt.json"):
        (tmp_path / name).write_text('{"file_name": "a.png"}')
    with pytest.raises(CommandError, match=r"no rows\.$"):
        source(str(tmp_path)).columns()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CommandError, match=r"no rows\. Left out: 1 \(no picture.*\): 1 \.txt"):
        source(str(tmp_path)).columns()
    (tmp_path / "metadata.csv").write_text("file_name\na.png\n")
    assert source(str(tmp_path)).count() == 1
    assert source(str(tmp_path / "metadata.jsonl")).count() == 1


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


def faults(table: Path, column: str | None = None) -> list[str]:
    """What is wrong with each row, of those that cannot be asked."""
    return [row.fault.code for row in source(str(table), column).rows() if row.fault]


def test_a_row_without_its_picture_is_a_failure_and_not_answered_blind(tmp_path: Path) -> None:
    table = tmp_path / "rows.jsonl"
    cells: list[Any] = [None, "", {"bytes": None, "path": None}, ["a.png", "b.png"], 7]
    rows = [{"name": "a"}, {"image": "a.png"}, *({"image": cell} for cell in cells)]
    table.write_text("\n".join(map(json.dumps, rows)))
    assert faults(table) == ["missing_picture"] * 6
    table.write_text("{}\n" * 300 + '{"image": "late.png"}')
    assert [bool(row.medium) for row in source(str(table)).rows()] == [False] * 300 + [True]


def test_pictures_in_a_column_of_another_name_are_not_ignored(tmp_path: Path) -> None:
    scan = {"bytes": picture(), "path": "a.png"}
    columns = {"text": ["a", "b"], "scans": [[scan], [scan]], "pages": [[scan], [scan, scan]]}
    parquet.write_table(arrow.table(columns), tmp_path / "rows.parquet")
    with pytest.raises(CommandError, match=r"--column scans\."):
        source(str(tmp_path))
    assert faults(tmp_path, "scans") == []
    assert faults(tmp_path, "pages") == ["missing_picture"], "of several pictures none is chosen"
    columns.pop("scans")
    parquet.write_table(arrow.table(columns), tmp_path / "rows.parquet")
    with pytest.raises(CommandError, match=r"Of pages .* not several\.$"):
        source(str(tmp_path))


def test_a_table_that_is_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    table = tmp_path / "rows.parquet"
    parquet.write_table(arrow.table({"text": [str(n) for n in range(4000)]}), table, row_group_size=1000)
    data = table.read_bytes()
    half = len(data) // 2
    table.write_bytes(data[:half] + bytes(3000) + data[half + 3000 :])
    rows = source(str(table)).rows()
    assert next(rows).columns == {"text": "0"}
    with pytest.raises(CommandError, match=r"rows\.parquet cannot be read: .*[^.]\.$"):
        list(rows)


def test_moments_are_read_as_pandas_writes_them(tmp_path: Path) -> None:
    moments = arrow.table({"at": arrow.array([10**18 + 1, None], arrow.timestamp("ns"))})
    parquet.write_table(moments, tmp_path / "rows.parquet")
    rows = [row.columns for row in source(str(tmp_path)).rows()]
    assert rows == [{"at": "2001-09-09 01:46:40.000000001"}, {"at": None}]


def test_a_text_that_begins_like_a_data_uri_is_a_text(tmp_path: Path) -> None:
    table = tmp_path / "rows.jsonl"
    table.write_text(
        '{"text": "data: 5 rows", "other": "a"}\n{"text": "b", "other": "DATA:image/png;base64,"}'
    )
    with pytest.raises(CommandError, match=r"--column other\."):
        source(str(table))
    table.write_text('{"text": "data: 5 rows"}')
    assert [row.columns for row in source(str(table)).rows()] == [{"text": "data: 5 rows"}]


def test_a_line_that_is_no_row_fails_alone(tmp_path: Path) -> None:
    table = tmp_path / "rows.jsonl"
    table.write_bytes(b'{"name": "a"}\n[1]\n{"name": "b"\n' + b"[" * 200_000 + b'\n{"name": "c"}')
    assert faults(table) == ["invalid_row"] * 3
    assert source(str(table)).count() == 5
    (tmp_path / "metadata.csv").write_text("file_name,name\na.png,b\na.png,b,c\n")
    assert faults(tmp_path) == ["invalid_row"]


def test_a_long_cell_of_a_spreadsheet_from_elsewhere_is_read(tmp_path: Path) -> None:
    """Longer than Python's limit, with the mark that Excel puts first."""
    (tmp_path / "metadata.csv").write_text(f"file_name,text\na.png,{'x' * 200_000}\n", "utf-8-sig")
    [row] = source(str(tmp_path)).rows()
    assert (row.columns["file_name"], len(row.columns["text"])) == ("a.png", 200_000)


def test_a_spreadsheet_in_another_encoding_is_read_or_refused_by_its_line(tmp_path: Path) -> None:
    table = tmp_path / "metadata.csv"
    table.write_bytes(b"file_name,text\na.png,caf\xc3\xa9\na.png,caf\xe9\n")
    with pytest.raises(CommandError, match=r"Line 3 of .*metadata\.csv is not UTF-8: save"):
        source(str(tmp_path))
    table.write_text("file_name\ttext\na.png\tb\n", "utf-16")
    [row] = source(str(tmp_path)).rows()
    assert row.columns == {"file_name": "a.png", "text": "b"}, "as Excel writes Unicode text"
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"text": "a"}\n{"text": "b"}', "utf-16")
    assert [row.columns for row in source(str(lines)).rows()] == [{"text": "a"}, {"text": "b"}], "PowerShell"
    lines.write_bytes(lines.read_bytes() + b"a")
    with pytest.raises(CommandError, match=r"rows\.jsonl cannot be read"):
        source(str(lines))


def test_columns_of_one_name_stay_all(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("name,name,\na,b,c\n\nd\n")
    first, second = source(str(tmp_path / "rows.csv")).rows()
    assert first.columns == {"name": "a", "name_2": "b", "": "c"}
    assert second.columns == {"name": "d", "name_2": None, "": None}


def test_the_first_rows_give_their_columns_without_keeping_their_pictures(tmp_path: Path) -> None:
    rows = {"image": [picture()] * 4 * READ, "n": range(4 * READ)}
    parquet.write_table(arrow.table(rows), tmp_path / "rows.parquet")
    table, most = source(str(tmp_path)), 0
    # What other tests left is not looked through for each row.
    gc.collect()
    gc.freeze()

    def living() -> set[int]:
        # By type: to ask a foreign object for its class may warn.
        return {id(it) for it in gc.get_objects() if type(it) is Row}

    before = living()

    def counted() -> Any:
        nonlocal most
        for row in table.rows():
            most = max(most, len(living() - before))
            yield row

    assert replace(table, rows=counted).columns() == {"n"}
    assert 0 < most <= READ


def written(output: Path, *records: Any, left_out: Any = None) -> Any:
    with Journal(output.with_name("journal"), QUESTION.digest) as journal:
        for key, line in zip(KEYS, records, strict=False):
            journal.add(key, line)
        keys = bytearray.fromhex("".join(KEYS[: len(records)]))
        return write_output(output, keys, journal, QUESTION, left_out or {})


def test_every_column_of_the_input_stays_also_one_called_like_an_answer(tmp_path: Path) -> None:
    rows = [record(columns={"answer": "theirs", "n": 1}), record(columns={"late": ["x"]}, answer='a "b"\n')]
    written(tmp_path / "out.csv", *rows)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first == {"answer": "theirs", "n": "1", "late": "", "answer_2": "a", "error": "", "job": "job_1"}
    assert (second["late"], second["answer_2"]) == ('["x"]', 'a "b"\n')


def test_the_receipt_says_why_rows_failed_and_what_was_left_out(tmp_path: Path) -> None:
    error = {"code": "invalid_image", "message": "It is cut.", "retryable": False}
    receipt = written(
        tmp_path / "out.jsonl",
        record(error=error),
        record(error=error),
        record(),
        left_out={"why": {".x": 2}},
    )
    assert (receipt.rows, receipt.answered, receipt.failed) == (3, 1, 2)
    assert receipt.failures == {"invalid_image": {"count": 2, "message": "It is cut."}}
    assert (receipt.left_out, receipt.file) == ({"why": {".x": 2}}, str(tmp_path / "out.jsonl"))


def test_no_file_of_a_folder_vanishes(tmp_path: Path) -> None:
    """What it is, its bytes say; a page is a row."""
    files = {
        "scan.bin": picture(),
        "b.pdf": pdf(["one", "two", "three"]),
        "c.mp4": b"\0\0\0\x18ftypisom",
        "d.wav": b"RIFF\0\0\0\0WAVE",
        "e.png": b"no picture",
        "f.pdf": b"%PDF-1.4 broken",
        "g.docx": b"PK\3\4",
        "notes.TXT": b"text",
        "more.txt": b"",
        "Makefile": b"all:",
        "out.jsonl": b"",
        "out.jsonl.journal": b"",
        "out.jsonl.receipt.json": b"{}",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    folder = source(str(tmp_path))
    assert folder.count() == 8
    rows = list(folder.rows())
    assert [(row.columns["file"], row.columns.get("page")) for row in rows] == [
        *(("b.pdf", page) for page in (1, 2, 3)),
        *((name, None) for name in ("c.mp4", "d.wav", "e.png", "f.pdf", "scan.bin")),
    ]
    assert folder.left_out == {
        "no picture, document, sound or video": {".txt": 2, ".docx": 1, "": 1},
    }
    assert rows[6].fault
    with pytest.raises(RowError, match="no picture"):
        QUESTION.body(rows[5])
    assert [json.loads(QUESTION.body(rows[n]))["messages"][0]["content"][0]["type"] for n in (0, 3, 4)] == [
        "document",
        "video",
        "audio",
    ]
    assert QUESTION.body(rows[0]) == QUESTION.body(next(source(str(tmp_path / "b.pdf")).rows()))
    assert len({QUESTION.key(row) for row in rows[:3]}) == 3


def test_a_page_that_is_asked_after_a_kill_is_the_same_request(tmp_path: Path) -> None:
    """Neither the time of asking nor bytes that nobody set are in it."""
    (tmp_path / "a.pdf").write_bytes(pdf(["one"]))
    first, second = (Image.new("1", (8, 8), colour) for colour in (0, 1))
    tags = {PAGE_NUMBER: (0, 2)}
    first.save(tmp_path / "b.tif", save_all=True, append_images=[second], tiffinfo=tags)
    media = [row.medium for row in source(str(tmp_path)).rows() if row.medium]
    document, frame, _ = (medium.load() for medium in media if medium.load)
    assert not re.search(rb"D:2\d{13}|/ID\[<(?!0{32})", document)
    with Image.open(io.BytesIO(frame)) as page:
        assert PAGE_NUMBER not in page.getexif()


def test_pages_of_a_tiff_are_rows_too_and_a_damaged_one_is_left_to_the_service(tmp_path: Path) -> None:
    first, second = (Image.new("1", (8, 8), colour) for colour in (0, 1))
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
    first.save(tmp_path / "one.tif")
    rows = list(source(str(tmp_path)).rows())
    assert [row.columns.get("page") for row in rows] == [None, 1, 2]
    assert len({QUESTION.body(row) for row in rows}) == 3
    data = (tmp_path / "two.tif").read_bytes()
    width = data.rindex(b"\x00\x01\x04\x00\x01\0\0\0\x08\0\0\0")
    (tmp_path / "two.tif").write_bytes(data[:width] + b"\x99" + data[width + 1 :])
    assert [row.columns for row in source(str(tmp_path)).rows()] == [{"file": "one.tif"}, {"file": "two.tif"}]


def test_files_that_no_line_of_the_folder_s_table_names_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "notes.txt"):
        (tmp_path / name).write_bytes(picture())
    (tmp_path / "metadata.csv").write_text("file_name;text\na.png;one\n")
    folder = source(str(tmp_path))
    assert folder.count() == 1
    assert folder.left_out == {"not in the table": {".png": 1, ".txt": 1}}


def test_a_file_larger_than_memory_fails_alone(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.write(picture())
        file.truncate(2**40)
    (tmp_path / "rows.jsonl").write_text('{"image": "huge.png"}')
    for place in (tmp_path, tmp_path / "rows.jsonl"):
        [row] = source(str(place)).rows()
        with pytest.raises(RowError, match=f"at most {MOST_MB} are read") as caught:
            QUESTION.key(row)
        assert caught.value.code == "payload_too_large"


def test_a_line_larger_than_memory_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.mapping.tables.LONGEST", 100)
    table = tmp_path / "rows.jsonl"
    table.write_text('{"text": "a"}\n{"text": "' + "b" * 250 + '"}\n{"text": "c"}')
    assert [row.columns.get("text") for row in source(str(table)).rows()] == ["a", None, "c"]
    assert (faults(table), source(str(table)).count()) == (["invalid_row"], 3)
    (tmp_path / "rows.csv").write_text("text\n" + "b" * 250)
    with pytest.raises(CommandError, match=r"Line 2 of .*rows\.csv has more than 100"):
        source(str(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("state.json", "nonsense"),
        ("state.json", "{}"),
        ("state.json", '{"_data_files": [7]}'),
        ("state.json", '{"_data_files": ["gone.arrow"]}'),
        ("state.json", '{"_data_files": ["pipe.arrow"]}'),
        ("state.json", '{"_data_files": ["damaged.arrow"]}'),
        ("dataset_dict.json", '{"splits": 7}'),
        ("dataset_dict.json", '{"splits": ["nowhere"]}'),
    ],
)
def test_a_damaged_data_set_is_one_sentence(tmp_path: Path, name: str, text: str) -> None:
    os.mkfifo(tmp_path / "pipe.arrow")
    (tmp_path / "damaged.arrow").write_bytes(b"x" * 100)
    (tmp_path / name).write_text(text)
    with pytest.raises(CommandError, match=r"cannot be read|does not say which"):
        source(str(tmp_path))


def test_a_pipe_is_no_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(CommandError, match="is a pipe or device"):
        source(str(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    "damage",
    [
        b"nonsense\n",
        b"[]\n",
        b"{}\n",
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
