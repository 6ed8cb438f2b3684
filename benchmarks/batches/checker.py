"""Whether every line of a batch has one row, the right one, and the batch's own counts say so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.batches.lines import Expected, Lines

Row = Mapping[str, Any]
CANCELLED = "batch_cancelled"


@dataclass(frozen=True)
class Verdict:
    """`miscounted` is how far the batch's counts are from its rows."""

    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    miscounted: int = 0


def judge(
    lines: Lines, good: Iterable[Row], bad: Iterable[Row], counts: Mapping[str, int], *, cut: bool
) -> Verdict:
    """`cut`: the batch was cancelled, so that lines may say so instead of their answer."""
    rows = [0] * (lines.count + 1)
    found = {"completed": 0, "failed": 0}
    wrong = 0
    for kind, file in (("completed", good), ("failed", bad)):
        for row in file:
            found[kind] += 1
            number = number_of(row)
            if 1 <= number <= lines.count:
                rows[number] += 1
            wrong += not _is_right(row, lines, number, cut)
    told = {**found, "total": lines.count}
    return Verdict(
        lost=rows[1:].count(0),
        doubled=sum(count - 1 for count in rows if count > 1),
        wrong=wrong,
        miscounted=sum(abs(told[name] - counts[name]) for name in told),
    )


def number_of(row: Row) -> int:
    """The line's number, at the end of the row's id."""
    return int(row["id"].rpartition("_")[2])


def _is_right(row: Row, lines: Lines, number: int, cut: bool) -> bool:
    if not 1 <= number <= lines.count:
        return False
    expected = lines.expected(number)
    if row["custom_id"] != expected.custom_id:
        return False
    if row["response"] is None:
        return cut and row["error"]["code"] == CANCELLED
    return _says(row["response"], expected)


def _says(response: Row, expected: Expected) -> bool:
    body = response["body"]
    if response["status_code"] == 200:
        return bool(body["choices"][0]["message"]["content"] == expected.text)
    return bool(body["error"]["code"] == expected.code)
