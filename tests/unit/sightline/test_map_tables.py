"""What a map reads of tables; no service."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
from pyarrow import parquet

from sightline.exits import CommandError
from sightline.mapping.question import Question
from sightline.mapping.rows import source
from tests.support.pictures import picture

QUESTION = Question("What?", "org/model")


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
    lines.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n{"text": "c"}')
    assert (faults(lines), source(str(lines)).count()) == (["invalid_row"], 3), "one line fails alone"
    lines.write_text('{"text": "a"}', "utf-16")
    lines.write_bytes(lines.read_bytes() + b"a")
    with pytest.raises(CommandError, match=r"rows\.jsonl cannot be read"):
        source(str(lines))


def test_columns_of_one_name_stay_all(tmp_path: Path) -> None:
    """A cell may be longer than Python's limit, and Excel puts a mark first."""
    long = "c" * 200_000
    (tmp_path / "rows.csv").write_text(f"name,name,\na,b,{long}\n\nd\n", "utf-8-sig")
    first, second = source(str(tmp_path / "rows.csv")).rows()
    assert first.columns == {"name": "a", "name_2": "b", "": long}
    assert second.columns == {"name": "d", "name_2": None, "": None}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("state.json", "nonsense"),
        ("state.json", '{"_data_files": [7]}'),
        ("state.json", '{"_data_files": ["gone.arrow"]}'),
        ("state.json", '{"_data_files": ["pipe.arrow"]}'),
        ("state.json", '{"_data_files": ["damaged.arrow"]}'),
        ("dataset_dict.json", '{"splits": 7}'),
        ("dataset_dict.json", '{"splits": ["."]}'),
        ("dataset_dict.json", "[" * 10_000),
        ("dataset_dict.json", '{"splits": ["nowhere"]}'),
    ],
)
def test_a_damaged_data_set_is_one_sentence(tmp_path: Path, name: str, text: str) -> None:
    os.mkfifo(tmp_path / "pipe.arrow")
    (tmp_path / "damaged.arrow").write_bytes(b"x" * 100)
    (tmp_path / name).write_text(text)
    with pytest.raises(CommandError, match=r"cannot be read|does not say which"):
        source(str(tmp_path))


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        ({"text": "A question.", "id": 7, "image": "a.png"}, "7"),
        ({"text": "A question.", "id": "a\ud800"}, "a?"),
        (
            {"text": "A question.", "image": "https://me:secret@example.org/a.png?key=secret#secret"},
            "https://example.org/a.png",
        ),
        ({"image": "x" * 501, "url": "a.png"}, "a.png"),
        ({"text": "A question."}, None),
    ],
)
def test_a_job_has_its_rows_name_and_nothing_that_metadata_must_not_keep(
    tmp_path: Path, cells: dict[str, Any], name: str | None
) -> None:
    table = tmp_path / "rows.jsonl"
    table.write_text(json.dumps(cells))
    [row] = source(str(table)).rows()
    job = json.loads(QUESTION.body(replace(row, medium=None), 3))
    assert job["metadata"] == {"map": f"{QUESTION.digest[:16]}/3"} | ({"row": name} if name else {})
