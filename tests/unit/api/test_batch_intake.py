"""A batch's file is read line by line, however large it is."""

import io
import json
import tracemalloc
from pathlib import Path

import pytest

from api.batches.lines import entry_of, lines, scan
from api.dialects.strict_json import MAX_DEPTH, MAX_ELEMENTS
from tests.support.batches import ENDPOINT, line

COUNT, LINE = 5000, 4000
LIMIT = 25 * 2**20


def test_a_file_is_looked_through_without_being_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps(line(f"{n}", "x" * LINE)) + "\n" for n in range(COUNT))
    with path.open("rb") as file:
        tracemalloc.start()
        found = scan(file, ENDPOINT, LIMIT)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (found.total, found.last, found.fatal) == (COUNT, path.stat().st_size, False)
    assert most < path.stat().st_size / 5


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"n": [' + "0," * MAX_ELEMENTS + "0]}", "payload_too_large"),
        ("x" * LIMIT, "payload_too_large"),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, "invalid_json_line"),
        ('{"cut": ', "invalid_json_line"),
    ],
    ids=["too many values", "too long", "too deep", "cut off"],
)
def test_a_line_that_cannot_be_parsed_is_told_by_its_number_and_what_is_wrong(text: str, code: str) -> None:
    head = f'{{"method": "POST", "url": "{ENDPOINT}", "custom_id": "a", "body": '
    (found,) = lines(io.BytesIO(f"\n{head}{text}}}\n".encode()), 0, 0, LIMIT)

    entry = entry_of(found, ENDPOINT, LIMIT)

    assert entry.problem is not None
    assert (entry.custom_id, entry.problem.code, entry.problem.line) == (None, code, 2)
