"""The file of a batch, and what a right service answers to each of its lines.

Most lines ask about a picture of their own, one in ten repeats an earlier one, one in fifty is wrong.
"""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.overhead.questions import noise

MODEL = "batch/echo"
ENDPOINT: Final = "/v1/chat/completions"
SIDE = 30
"""Side of a picture of noise: 50,000 lines make 200 MB."""
BAD_EACH, BAD_AT = 50, 7
SAME_EACH, SAME_AT = 10, 3
FAR = 1000
"""Lines before every other repeat, so that the answer is known by then; the rest repeat the line before."""
Line = dict[str, Any]


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
            seen = f" [{SIDE}x{SIDE}]" if self.pictures else ""
            return Expected(self._id(number), self._question(_first(number)) + seen)
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

    def _good(self, custom_id: str, asked: int) -> Line:
        content: Any = self._question(asked)
        if self.pictures:
            shown = {"type": "image_url", "image_url": {"url": self._picture(asked)}}
            content = [{"type": "text", "text": content}, shown]
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
        return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}

    def _id(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _question(self, asked: int) -> str:
        return f"What is on page {asked} of {self.name}?"

    def _picture(self, asked: int) -> str:
        dice = random.Random(f"{self.name} {asked}")  # noqa: S311 - no secret
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


def _asking(line: Line, **body: Any) -> Line:
    return line | {"body": line["body"] | body}


def _twice(line: Line) -> Line:
    return line | {"custom_id": line["custom_id"].rpartition("-")[0] + "-1"}


def _blind(line: Line) -> Line:
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    return _asking(line, messages=[{"role": "user", "content": [shown]}])


BAD: tuple[tuple[str, Callable[[Line], Line | None]], ...] = (
    ("invalid_json_line", lambda _: None),
    ("url_mismatch", lambda line: line | {"url": "/v1/completions"}),
    ("unknown_field", lambda line: line | {"note": "mine"}),
    ("duplicate_custom_id", _twice),
    ("model_not_found", lambda line: _asking(line, model="nobody/none")),
    ("invalid_request", lambda line: _asking(line, temperature=1000)),
    ("unsupported_parameter", lambda line: _asking(line, stream=True)),
    ("invalid_image", _blind),
)
"""What is wrong with a line, by the code of its row."""


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of an output or error file."""
    with path.open("rb") as file:
        for row in file:
            yield json.loads(row)
