"""`sightline map` over tables: columns in questions, schemas as columns, Parquet, data sets and buckets."""

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as arrow
import pytest
from pyarrow import ipc, parquet

from sightline.exits import CommandError
from sightline.mapping.output import Receipt
from sightline.mapping.rows import source
from sightline.mapping.run import map_rows_sync
from tests.e2e.conftest import ECHO, TINY
from tests.support.clouds import cloud
from tests.support.object_store import BUCKET, object_store
from tests.support.pictures import picture
from tests.support.service import Service

SIZES = [(8, 6), (9, 7), (10, 8)]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "count": {"enum": [1, 2]}},
    "required": ["colour", "count"],
}


@pytest.fixture
def pictures() -> list[bytes]:
    return [picture(size=size) for size in SIZES]


def mapped(service: Service, question: str, input: Path | str, output: Path, **options: Any) -> Receipt:
    return map_rows_sync(question, str(input), output, **{"model": ECHO, "url": service.url(), **options})


def seen(rows: list[dict[str, Any]]) -> list[str]:
    return [row["answer"] for row in rows]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def expected(*words: str) -> list[str]:
    return [f"{word} [{wide}x{high}]" for word, (wide, high) in zip(words, SIZES, strict=True)]


def test_columns_fill_the_question_and_come_back_beside_the_answer(
    service: Service, pictures: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(pictures[0])
    cells = [
        "a.png",
        base64.b64encode(pictures[1]).decode(),
        f"data:image/png;base64,{base64.b64encode(pictures[2]).decode()}",
    ]
    table = tmp_path / "rows.jsonl"
    rows = [
        {"image": cell, "name": name, "n": n} for n, (cell, name) in enumerate(zip(cells, "xyz", strict=True))
    ]
    table.write_text("\n\n".join(map(json.dumps, rows)))
    receipt = mapped(service, 'see {name} {"n": 1} {{n}}', table, tmp_path / "out.jsonl")

    assert (receipt.rows, receipt.answered) == (3, 3)
    written = lines(tmp_path / "out.jsonl")
    assert seen(written) == expected(*(f'see {name} {{"n": 1}} {{n}}' for name in "xyz"))
    assert [(row["name"], row["n"]) for row in written] == [("x", 0), ("y", 1), ("z", 2)]


def test_a_question_that_names_no_column_is_refused_before_anything_is_asked(
    service: Service, tmp_path: Path
) -> None:
    table, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    table.write_text('{"text": "a"}\n')
    with pytest.raises(CommandError, match="columns are text"):
        mapped(service, "{name}", table, output)
    with pytest.raises(CommandError, match="no column where"):
        mapped(service, "{text}", table, output, column="where")
    assert not output.exists()


def test_bytes_in_parquet_are_asked_about_and_answers_become_its_columns(
    service: Service, pictures: list[bytes], tmp_path: Path
) -> None:
    table = arrow.table(
        {"image": [{"bytes": data, "path": None} for data in pictures], "label": [1, None, 3]}
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    receipt = mapped(service, "label {label}", tmp_path / "in.parquet", output)

    assert (receipt.rows, receipt.answered) == (3, 3)
    written = parquet.read_table(output)
    assert written.column_names == ["label", "answer", "error", "job"]
    assert written["label"].to_pylist() == [1, None, 3]
    assert written["answer"].to_pylist() == expected("label 1", "label null", "label 3")


def test_structured_answers_become_typed_columns(
    service: Service, pictures: list[bytes], tmp_path: Path
) -> None:
    input, output = tmp_path / "photos", tmp_path / "out.parquet"
    input.mkdir()
    for number, data in enumerate(pictures):
        (input / f"{number}.png").write_bytes(data)
    receipt = mapped(service, "What?", input, output, model=TINY, schema=SCHEMA, max_tokens=40)
    assert (receipt.rows, receipt.answered) == (3, 3)
    written = parquet.read_table(output)
    assert {str(field.type) for field in written.schema if field.name == "count"} == {"int64"}
    assert set(written["count"].to_pylist()) <= {1, 2}
    assert set(written["colour"].to_pylist()) <= {"red", "green"}
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    with pytest.raises(CommandError, match="answer is both"):
        mapped(service, "What?", input, tmp_path / "other.jsonl", schema=schema)


def test_a_row_of_text_or_paths_that_cannot_be_fails_alone_with_its_reason(
    service: Service, pictures: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(pictures[0])
    table, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"image": "a.png", "text": "fine"},
        {"image": "a.png", "text": "half \ud83d"},
        {"image": "half \ud83d.png", "text": "b"},
        {"image": "nul\0.png", "text": "c"},
        {"image": None, "text": "d"},
        {"image": "a.png", "text": "e", "other": "\udc9f"},
        {"image": "a.png"},
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    receipt = mapped(service, "{text}", table, output)
    assert (receipt.rows, receipt.answered, receipt.failed) == (7, 2, 5)
    assert mapped(service, "{text}", table, output) == receipt
    codes = [row["error"] and row["error"]["code"] for row in lines(output)]
    assert codes == [
        None,
        "invalid_text",
        "unreadable",
        "unreadable",
        "missing_picture",
        None,
        "missing_column",
    ]
    assert mapped(service, "{text}", table, tmp_path / "out.parquet").failed == 5
    assert parquet.read_table(tmp_path / "out.parquet")["other"].to_pylist()[-2] == "?"


def test_a_name_that_is_not_utf_8_is_asked_about_and_leaves_the_output_readable(
    service: Service, pictures: list[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(pictures[0])
    for name in ("out.jsonl", "out.parquet"):
        assert mapped(service, "{file}", folder, tmp_path / name).answered == 1
    [row] = lines(tmp_path / "out.jsonl")
    assert (row["file"], row["answer"]) == ("caf\\xe9.png", "caf\\xe9.png [8x6]")


def test_numbers_too_long_for_a_table_are_kept_as_text(service: Service, tmp_path: Path) -> None:
    table, output = tmp_path / "rows.jsonl", tmp_path / "out.parquet"
    table.write_text('{"hash": 18446744073709551615}\n{"hash": 1}\n')
    mapped(service, "{hash}", table, output)
    assert parquet.read_table(output)["hash"].to_pylist() == ["18446744073709551615", "1"]


def test_a_schema_that_no_answer_can_follow_ends_the_map_at_its_first_row(
    service: Service, tmp_path: Path
) -> None:
    table, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    table.write_text('{"text": "a"}\n' * 50)
    for place in ("https://elsewhere/x", "#/nowhere"):
        schema = {"type": "object", "properties": {"x": {"$ref": place}}}
        with pytest.raises(CommandError, match="No row can be asked so"):
            mapped(service, "{text}", table, output, model=TINY, schema=schema)
    assert not output.exists()


def test_an_answer_that_broke_off_is_a_failure_and_not_an_empty_column(
    service: Service, tmp_path: Path
) -> None:
    table, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    table.write_text('{"text": "a"}\n')
    receipt = mapped(service, "{text}", table, output, model=TINY, schema=SCHEMA, max_tokens=2)
    assert (receipt.answered, receipt.failed) == (0, 1)
    assert lines(output)[0]["error"]["code"] == "answer_cut_off"


@pytest.mark.parametrize("kind", ["saved", "splits", "shards", "image folder", "csv"])
def test_a_data_set_is_read_as_its_library_writes_it(
    service: Service, pictures: list[bytes], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    table = arrow.table(
        {"image": [{"bytes": data, "path": "x.png"} for data in pictures], "label": list("abc")}
    )
    match kind:
        case "saved":
            saved(folder, table)
        case "splits":
            (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
            for split, part in (("train", table.slice(0, 2)), ("test", table.slice(2))):
                (folder / split).mkdir()
                saved(folder / split, part)
        case "shards":
            (folder / "data").mkdir()
            parquet.write_table(table.slice(0, 1), folder / "data/train-00000-of-00002.parquet")
            parquet.write_table(table.slice(1), folder / "data/train-00001-of-00002.parquet")
        case _:
            for number, data in enumerate(pictures):
                (folder / f"{number}.png").write_bytes(data)
            rows = [(f"{number}.png", label) for number, label in enumerate("abc")]
            if kind == "csv":
                table_text = "\n".join(",".join(row) for row in [("file_name", "label"), *rows])
                (folder / "metadata.csv").write_text(table_text)
            else:
                named = [json.dumps(dict(zip(("file_name", "label"), row, strict=True))) for row in rows]
                (folder / "metadata.jsonl").write_text("\n".join(named))
    mapped(service, "{label}", folder, tmp_path / "out.jsonl")
    assert seen(lines(tmp_path / "out.jsonl")) == expected(*"abc")


def saved(folder: Path, table: Any) -> None:
    name = "data-00000-of-00001.arrow"
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with ipc.new_stream(folder / name, table.schema) as stream:
        stream.write_table(table)


@contextmanager
def bucket(scheme: str, objects: dict[str, bytes]) -> Iterator[Mapping[str, str]]:
    """With these objects; the environment by which users name its cloud."""
    if scheme == "s3":
        with object_store() as store:
            for key, data in objects.items():
                httpx.put(f"{store.url}/{BUCKET}/{key}", content=data)
            yield store.env
        return
    with cloud() as server:
        server.objects |= objects
        yield server.env


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_bucket_is_listed_with_the_callers_own_keys(
    service: Service, pictures: list[bytes], tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = {f"photos/{number}.png": data for number, data in enumerate(pictures)}
    with bucket(scheme, photos | {"other/9.png": b""}) as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        mapped(service, "see", f"{scheme}://{BUCKET}/photos", tmp_path / "out.jsonl")
    rows = lines(tmp_path / "out.jsonl")
    assert seen(rows) == expected(*["see"] * 3)
    assert [row["file"] for row in rows] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("key", ["photos//b.png", "photos/../b.png"])
def test_a_key_that_no_client_of_paths_can_name_is_named_before_anything_is_asked(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cloud() as server:
        server.objects |= {"photos/a/a.png": b"", key: b""}
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(CommandError, match=f'one key is no path .*"{re.escape(key)}"'):
            source(f"gs://{BUCKET}/photos").count()
        assert source(f"gs://{BUCKET}/photos/a").count() == 1


def test_without_pyarrow_parquet_is_refused_in_words(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    table = tmp_path / "rows.jsonl"
    table.write_text('{"text": "a"}\n')
    with pytest.raises(CommandError, match="pip install"):
        mapped(service, "{text}", table, tmp_path / "out.parquet")
