"""The batch benchmark's own judgement: a checker that finds nothing proves nothing."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.batches.lines import BAD, BAD_AT, BAD_EACH, Lines, Verdict, judge
from shared.batch import MOST_LINES

LINES = Lines("test", BAD_EACH * len(BAD), pictures=False)
Rows = dict[int, dict[str, Any]]


def row(number: int) -> dict[str, Any]:
    """As a right service writes it."""
    expected = LINES.expected(number)
    told: dict[str, Any] = {"id": f"batch_req_0a_{number}", "custom_id": expected.custom_id, "error": None}
    if expected.code:
        return told | {"response": {"status_code": 400, "body": {"error": {"code": expected.code}}}}
    message = {"message": {"content": expected.text}}
    return told | {"response": {"status_code": 200, "body": {"choices": [message]}}}


@pytest.fixture
def rows() -> Rows:
    return {number: row(number) for number in range(1, LINES.count + 1)}


def judged(rows: Iterable[dict[str, Any]], *, cut: bool = False, **counts: int) -> Verdict:
    found = list(rows)
    good = [one for one in found if one["response"] and one["response"]["status_code"] == 200]
    bad = [one for one in found if one not in good]
    told = {"total": LINES.count, "completed": len(good), "failed": len(bad)} | counts
    return judge(LINES, good, bad, told, cut=cut)


def test_every_row_in_its_place_is_right(rows: Rows) -> None:
    assert judged(rows.values()) == Verdict()
    assert {LINES.expected(n).code for n in rows} == {"", *(code for code, _ in BAD)}


def test_a_line_without_a_row_is_lost(rows: Rows) -> None:
    del rows[5]
    assert judged(rows.values()) == Verdict(lost=1)


def test_a_second_row_of_a_line_is_seen(rows: Rows) -> None:
    assert judged([*rows.values(), row(5), row(BAD_AT)]) == Verdict(doubled=2)


@pytest.mark.parametrize("number", [5, BAD_AT])
def test_the_row_of_another_line_is_wrong(rows: Rows, number: int) -> None:
    rows[number] = row(number + 1) | {"id": rows[number]["id"]}
    assert judged(rows.values()) == Verdict(wrong=1)


def test_counts_that_are_not_those_of_the_rows_are_seen(rows: Rows) -> None:
    assert judged(rows.values(), completed=1, failed=LINES.count - 1).miscounted > 0


def test_only_a_cancelled_batch_may_leave_a_line_undone(rows: Rows) -> None:
    rows[5] |= {"response": None, "error": {"code": "batch_cancelled"}}
    assert judged(rows.values(), cut=True) == Verdict()
    assert judged(rows.values()) == Verdict(wrong=1)


def test_the_whole_file_is_as_large_as_promised_and_names_each_line_once(tmp_path: Path) -> None:
    part = Lines("test", 2000, pictures=True)
    part.write(tmp_path / "lines")
    written = (tmp_path / "lines").read_bytes()
    assert 0.95 < len(written) / 2000 * MOST_LINES / 200e6 <= 1
    said = [json.loads(line) for line in written.splitlines() if line.startswith(b"{")]
    doubles = sum(part.expected(n).code == "duplicate_custom_id" for n in range(1, 2001))
    assert len({line["custom_id"] for line in said}) == len(said) - doubles
    pictures = {json.dumps(line["body"]["messages"]) for line in said}
    assert len(pictures) < 0.95 * len(said), "no question comes twice"
