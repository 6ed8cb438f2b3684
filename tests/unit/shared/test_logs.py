"""A line of the log says what it is about, to people and programs, and nothing can pretend to be another."""

import ast
import json
import logging
import re
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from shared.log_throttle import LogThrottle
from shared.settings import Settings
from shared.telemetry.logs import JsonLines, TextLines, about, fields, open_log
from tests.support.service import ROOT

LOUD = {"warning", "error", "critical"}
"""What is written with `exception` has a traceback, which the page says is a bug."""
WAITS = re.compile(r"\bwaits?: …$")
"""Redis is out of reach: one line of the page for all."""
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def record(message: str, *arguments: object, **more: object) -> logging.LogRecord:
    extra = {name: more.pop(name) for name in ("exc_info",) if name in more}
    made = logging.LogRecord("a.b", logging.INFO, "", 1, message, arguments, extra.get("exc_info"))  # type: ignore[arg-type]
    vars(made).update(fields(**more))  # type: ignore[arg-type]
    return made


def failed() -> object:
    try:
        raise ValueError("it broke")
    except ValueError:
        return sys.exc_info()


def test_a_line_for_people_has_its_fields_behind_its_words() -> None:
    line = TextLines().format(record("job %s", "ended", model="org/m", run_s=0.25, code=None, cache=""))
    assert line.endswith(" INFO a.b: job ended model=org/m run_s=0.25")


@pytest.mark.parametrize("text", ["a b", 'a"b', "a=b", "a\nb", "a\r\nb", "a\x1b[31mb", "a\u202eb"])
def test_what_somebody_else_wrote_cannot_look_like_a_field_a_line_or_a_command(text: str) -> None:
    line = TextLines().format(record("called", caller=text, status=204))
    repeated = TextLines().format(record("it failed: %s", text, run="run_1"))
    assert line.isprintable()
    assert repeated.isprintable()
    assert repeated.endswith("b run=run_1")
    head, quoted = line.split(" caller=")
    assert json.loads(quoted.removesuffix(" status=204")) == text
    assert head.endswith("called")


def test_no_access_line_of_the_server_s_own_tells_the_queries_of_callers() -> None:
    logging.getLogger("uvicorn.access").setLevel(logging.NOTSET)
    open_log(Settings(log_level="info"))
    assert not logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO)
    assert not logging.getLogger("uvicorn.access").handlers


def test_a_line_for_programs_is_one_object_an_exception_s_too() -> None:
    line = JsonLines().format(record("run %s failed", "run_1", attempt=2, exc_info=failed()))
    assert "\n" not in line
    told = json.loads(line)
    assert (
        told.items()
        >= {"level": "info", "logger": "a.b", "message": "run run_1 failed", "attempt": 2}.items()
    )
    assert told["time"].endswith("+00:00")
    assert told["exception"].endswith("ValueError: it broke")


def test_what_holds_for_a_request_is_in_each_of_its_lines_and_in_no_later_one() -> None:
    with about(request_id="req_1"), about(trace_id="", run="run_1"):
        inside = json.loads(JsonLines().format(record("inside", attempt=1)))
    outside = json.loads(JsonLines().format(record("outside")))
    assert inside.items() >= {"request_id": "req_1", "run": "run_1", "attempt": 1}.items()
    assert "trace_id" not in inside
    assert "request_id" not in outside


def test_what_fails_for_long_is_said_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5.0
    monkeypatch.setattr("shared.log_throttle.time", SimpleNamespace(monotonic=lambda: now))
    seldom, said = LogThrottle(), []
    for now in (5.0, 6.0, 64.9, 65.0, 66.0, 125.0):
        if seldom.due():
            said.append(now)
    assert said == [5.0, 65.0, 125.0]


def said(levels: set[str]) -> Iterator[str]:
    """The words of each line at these levels, with a dot leader for what differs."""
    for room in ("api", "worker", "shared"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id="log"), attr=attr),
                        args=[ast.Constant(value=str(words)), *_],
                    ) if attr in levels:
                        yield re.sub(r"%[\d.]*[sdf]", "…", words)


def test_who_reads_a_warning_at_night_finds_what_to_do_about_it() -> None:
    page = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
    listed = ROW.findall(page.split("## What is written at `warning`")[1])
    loud, broken = (list(said(levels)) for levels in (LOUD, {"exception"}))
    assert {words for words in loud if not WAITS.search(words)} - set(listed) == set()
    assert len(set(listed)) == len(listed)
    assert set(listed) - {*loud, *broken} == set()
