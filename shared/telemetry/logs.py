"""How every process of the service writes its log: one line an event, to standard error, as text or as JSON.

A line has fields beside its words: its own (`fields`), and those of all lines about one request, job or call
(`about`). Prompts, answers and secrets are never among them: the code that logs sees to that.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from shared.json_line import in_one_line
from shared.settings import Settings

Value = str | int | float | bool | None
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
OTHERS = ("uvicorn", "uvicorn.error", "uvicorn.access")
"""Loggers that come with handlers of their own."""
TALKATIVE = ("celery.worker.strategy", "celery.app.trace", "httpx", "uvicorn.access")
"""Loggers with a line or two for each nudge or call, which repeats ours or holds a whole URL."""

_about: ContextVar[Mapping[str, Value]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(**named: Value) -> Iterator[None]:
    """Every line of this task or thread until the block's end has these fields; None and "" are left out."""
    token = _about.set({**_about.get(), **_without_empty(named)})
    try:
        yield
    finally:
        _about.reset(token)


def fields(**named: Value) -> dict[str, Any]:
    """`extra` of one line; None and "" are left out."""
    return {"fields": _without_empty(named)}


def _without_empty(named: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in named.items() if value not in (None, "")}


def _fields_of(record: logging.LogRecord) -> dict[str, Value]:
    return {**_about.get(), **getattr(record, "fields", {})}


class TextLines(logging.Formatter):
    """For people: the fields as `name=value` behind the words."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        fields = (f"{name}={_quoted(value)}" for name, value in _fields_of(record).items())
        return " ".join((_in_one_line(super().formatMessage(record)), *fields))


def _in_one_line(words: str) -> str:
    """Spells out line ends and control characters: an error's words may repeat what a stranger sent."""
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def _quoted(value: Value) -> str:
    """Puts a text in quotes that could be read as more than one field."""
    plain = str(value)
    return plain if plain.isprintable() and not set(plain) & set(' "=') else json.dumps(plain)


class JsonLines(logging.Formatter):
    """For programs: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Value] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return in_one_line(json.dumps(line, ensure_ascii=False, separators=(",", ":")))


def open_log(settings: Settings) -> None:
    """From now on everything that this process logs goes this way, libraries' lines too; harmless twice."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    # Does nothing where the root logger has a handler: in tests it has theirs.
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    # Looked up for every line and shown in none (docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in OTHERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    if settings.log_level != "debug":
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
