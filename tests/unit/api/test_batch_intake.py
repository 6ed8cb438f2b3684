"""A batch's file is read line by line, however large it is."""

import io
import json
import tracemalloc
from pathlib import Path

import pytest

from api.batches.intake import BLOCK, entry_of, lines, scan
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


class Counting(io.BytesIO):
    """How often it is asked for bytes; each time holds up every other thread."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked += 1
        return super().read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        self.asked += 1
        return super().readline(size)


@pytest.mark.parametrize("blank", [b"\n", b" \r\n", b"\x0c\n"])
def test_a_file_of_blank_lines_does_not_hold_up_its_process(blank: bytes) -> None:
    count = 200_000
    good = json.dumps(line("a")).encode()
    file = Counting(blank * count + b"  " + good + b"\n" + blank * 3 + good)

    first, last = lines(file, 0, 0, LIMIT)

    assert file.asked < 3 * len(blank) * count / BLOCK
    assert (first.number, first.at, last.number) == (count + 1, 0, count + 5)
    assert (first.behind, last.behind) == (last.at, len(file.getvalue()))
    assert [entry_of(one, ENDPOINT, LIMIT).custom_id for one in (first, last)] == ["a", "a"]


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
def test_a_line_that_cannot_be_parsed_is_told_by_its_name_and_what_is_wrong(text: str, code: str) -> None:
    head = f'{{"method": "POST", "url": "{ENDPOINT}", "custom_id": "caf\\u00e9", "body": '
    (found,) = lines(io.BytesIO(f"\n{head}{text}}}\n".encode()), 0, 0, LIMIT)

    entry = entry_of(found, ENDPOINT, LIMIT)

    assert entry.problem is not None
    assert (entry.custom_id, entry.problem.code, entry.problem.line) == ("café", code, 2)


@pytest.mark.parametrize(
    "head", ['{"body": {"custom_id": "inner"', '{"custom_id": 7', '{"custom_id": "\\ud800"']
)
def test_nothing_else_is_taken_for_the_name_of_a_line(head: str) -> None:
    (found,) = lines(io.BytesIO(head.encode()), 0, 0, LIMIT)

    assert entry_of(found, ENDPOINT, LIMIT).custom_id is None
