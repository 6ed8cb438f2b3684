"""What a map reads of a folder, and what it leaves out; no service."""

import io
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from sightline.exits import CommandError
from sightline.mapping.media import MOST_MB, RowError
from sightline.mapping.output import check_replaced
from sightline.mapping.question import Question
from sightline.mapping.rows import receipt_of, source
from tests.support.documents import pdf
from tests.support.pictures import picture

QUESTION = Question("What is it?", "model")
PAGE_NUMBER = 297


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
    assert json.loads(QUESTION.body(linked))["input"] == json.loads(QUESTION.body(named))["input"]


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
    assert [row.name for row in rows[2:4]] == ["b.pdf page 3", "c.mp4"]


def test_hidden_files_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("a.png", "._a.png", ".DS_Store", ".git/b.png", "._x.parquet", ".metadata.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture())
    folder = source(str(tmp_path))
    assert (folder.count(), [row.name for row in folder.rows()]) == (1, ["a.png"])
    assert folder.left_out == {"hidden": {".png": 2, ".parquet": 1, ".csv": 1, "": 1}}
    assert source(str(tmp_path / "._a.png")).count() == 1, "it was named"


def test_a_name_of_any_length_is_a_row(tmp_path: Path) -> None:
    (tmp_path / f"{'n' * 245}.png").write_bytes(picture())
    [row] = source(str(tmp_path)).rows()
    assert QUESTION.body(row)
    pattern = str(tmp_path / f"{'[n]' * 245}.png")
    assert source(pattern).count() == 1


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
