"""The file of a batch, what a right service answers to each of its lines, and the verdict on its rows.

Most lines ask about a picture of their own, one in ten repeats an earlier one, one in fifty is wrong.
"""

import base64
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.overhead.services import noise

MODEL = "batch/echo"
ENDPOINT: Final = "/v1/chat/completions"
SIDE = 30
"""Side of a picture of noise: 50,000 lines make 200 MB."""
BAD_EACH, BAD_AT = 50, 7
SAME_EACH, SAME_AT = 10, 3
FAR = 1000
"""Lines before every other repeat, so that the answer is cached by then; the rest repeat the line before."""
Line = dict[str, Any]
Row = Mapping[str, Any]
CANCELLED = "batch_cancelled"


@dataclass(frozen=True)
class Expected:
    """A line's own name, None where it cannot be read, and its answer's text or its error's code."""

    custom_id: str | None
    text: str = ""
    code: str = ""


@dataclass(frozen=True)
class Lines:
    """Numbers count from 1. The same name makes the same bytes."""

    name: str
    count: int
    pictures: bool

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(self._written(number) for number in range(1, self.count + 1))

    def expected(self, number: int) -> Expected:
        if not _is_bad(number):
            size = f" [{SIDE}x{SIDE}]" if self.pictures else ""
            return Expected(self._id(number), self._question(_first(number)) + size)
        code, _ = BAD[_kind(number)]
        line = self._line(number)
        return Expected(None if line is None else line["custom_id"], code=code)

    def _written(self, number: int) -> bytes:
        line = self._line(number)
        return (f"line {number} is no JSON" if line is None else json.dumps(line)).encode() + b"\n"

    def _line(self, number: int) -> Line | None:
        if not _is_bad(number):
            return self._good(self._id(number), _first(number))
        return BAD[_kind(number)][1](self._good(self._id(number), number))

    def _good(self, custom_id: str, question: int) -> Line:
        content: Any = self._question(question)
        if self.pictures:
            picture = {"type": "image_url", "image_url": {"url": self._picture(question)}}
            content = [{"type": "text", "text": content}, picture]
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
        return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}

    def _id(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _question(self, question: int) -> str:
        return f"What is on page {question} of {self.name}?"

    def _picture(self, question: int) -> str:
        dice = random.Random(f"{self.name} {question}")  # noqa: S311 - no secret
        return "data:image/png;base64," + base64.b64encode(noise(SIDE, dice.randbytes)).decode()


def _is_bad(number: int) -> bool:
    return number % BAD_EACH == BAD_AT


def _kind(number: int) -> int:
    return number // BAD_EACH % len(BAD)


def _first(number: int) -> int:
    """The line that asked the same question first."""
    if number % SAME_EACH != SAME_AT:
        return number
    far = FAR if number // SAME_EACH % 2 and number > FAR else 0
    return number - 1 - far


def _with_body(line: Line, **body: Any) -> Line:
    return line | {"body": line["body"] | body}


def _twice(line: Line) -> Line:
    return line | {"custom_id": line["custom_id"].rpartition("-")[0] + "-1"}


def _blind(line: Line) -> Line:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    return _with_body(line, messages=[{"role": "user", "content": [picture]}])


BAD: tuple[tuple[str, Callable[[Line], Line | None]], ...] = (
    ("invalid_json_line", lambda _: None),
    ("url_mismatch", lambda line: line | {"url": "/v1/responses"}),
    ("duplicate_custom_id", _twice),
    ("model_not_found", lambda line: _with_body(line, model="nobody/none")),
    ("invalid_request", lambda line: _with_body(line, temperature=1000)),
    ("unsupported_parameter", lambda line: _with_body(line, stream=True)),
    ("invalid_image", _blind),
)
"""What is wrong with a line, by the code of its row."""


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of an output or error file."""
    with path.open("rb") as file:
        for row in file:
            yield json.loads(row)


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
    """Has every line one row, the right one, and do the batch's own counts say so?

    `cut`: the batch was cancelled, so that lines may say so instead of their answer.
    """
    rows = [0] * (lines.count + 1)
    counted = {"completed": 0, "failed": 0}
    wrong = 0
    for kind, file in (("completed", good), ("failed", bad)):
        for row in file:
            counted[kind] += 1
            number = number_of(row)
            if 1 <= number <= lines.count:
                rows[number] += 1
            wrong += not _is_right(row, lines, number, cut)
    expected = {**counted, "total": lines.count}
    return Verdict(
        lost=rows[1:].count(0),
        doubled=sum(count - 1 for count in rows if count > 1),
        wrong=wrong,
        miscounted=sum(abs(expected[name] - counts[name]) for name in expected),
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
    return _matches(row["response"], expected)


def _matches(response: Row, expected: Expected) -> bool:
    body = response["body"]
    if response["status_code"] == 200:
        return bool(body["choices"][0]["message"]["content"] == expected.text)
    return bool(body["error"]["code"] == expected.code)
