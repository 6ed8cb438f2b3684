"""The pages that describe code or measurements, made from these."""

import re
from itertools import takewhile
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docs.generate import counted, measured
from docs.generate.raised import raised
from docs.generate.tables import rows_of
from shared.errors import CODES, Code
from shared.settings import fields
from shared.store.script import FOLDER

DOCS = Path(__file__).parents[1]

SETTINGS = """\
# Settings

Environment variables, read once at the start of each process. The unit is in the name: `_S` seconds, `_MB`
MiB. An unknown name that begins with `SIGHTLINE_`, or a wrong value, stops the start with a sentence that
names it.
"""

ERRORS = """\
# Errors

Every error carries one of these codes: under `/v1/jobs`, `/v1/estimate`, `/v1/webhooks` and `/v1/events` as
`code` (problem details, RFC 9457), on the other `/v1` routes as `error.code`, on Hugging Face's routes as
`error_type`. Codes are never renamed. *Repeat* says whether the same request may succeed later;
`Retry-After` then says when, in 59 s at most; of a full line it is what those in it take at the measured
pace, and no less than the first of them has waited so far. A stream that breaks off has the code in its last
event, `error`, on every route as `error.code` beside `"error_type": "generation"`.

*OpenAI* is what OpenAI's clients raise, in Python and, where it has another name there, in JavaScript
([Python](clients/openai-python.md), [JavaScript](clients/openai-js.md)). They retry twice by themselves
where *repeat* says yes, after `Retry-After`, and raise at once where it says no: `x-should-retry` tells them.
*AI SDK* is what [Vercel's](clients/ai-sdk.md) throws: a `RetryError` after it asked three times, also where
*repeat* says no. What Hugging Face's clients make of it is on their pages
([Python](clients/huggingface-python.md), [JavaScript](clients/huggingface-js.md)).
"""


TRANSITIONS = """\
# Transitions

Records change by the Lua scripts in `shared/store/scripts/`, one for each transition, which Redis runs with
nothing in between; a script's header names its arguments and keys. Each is safe to repeat, because replies
get lost. *Tells* are the events that readers of a job's stream get.
"""


def pages() -> dict[Path, str]:
    """Each generated page's text."""
    return {
        DOCS / "settings.md": _settings(),
        DOCS / "errors.md": _errors(),
        DOCS / "transitions.md": _transitions(),
        DOCS / "metrics.md": counted.page(),
        DOCS / "benchmarks.md": measured.page(),
    }


def _settings() -> str:
    rows = [(f"`{name}`", _default(field), field.description or "") for name, field in fields()]
    return SETTINGS + rows_of(("variable", "default", "meaning"), rows)


def _errors() -> str:
    ranked = sorted(CODES.items(), key=lambda item: item[1].status)
    rows = [
        (f"`{name}`", str(code.status), "yes" if code.retryable else "no", *_raised(code), code.remedy)
        for name, code in ranked
    ]
    return ERRORS + rows_of(("code", "status", "repeat", "OpenAI", "AI SDK", "what to do"), rows)


def _raised(code: Code) -> tuple[str, str]:
    found = raised(code)
    names = dict.fromkeys((found.python, found.javascript))
    return ", ".join(f"`{name}`" for name in names), f"`{found.ai}`"


def _transitions() -> str:
    rows = [(f"`{path.stem}`", *_header(path)) for path in sorted(FOLDER.glob("*.lua"))]
    return TRANSITIONS + rows_of(("script", "what it does", "answers", "tells"), rows)


def _header(path: Path) -> tuple[str, str, str]:
    """A script's purpose, replies and events, from the comment it begins with."""
    written = path.read_text(encoding="utf-8").splitlines()
    lines = takewhile(lambda line: line.startswith("--") and "@include" not in line, written)
    purpose, *named = re.split(r"\n {3}(?=\w)", "\n".join(line.removeprefix("--") for line in lines))
    said = {name: " ".join(text.split()) for name, _, text in (entry.partition(" ") for entry in named)}
    return " ".join(purpose.split()), said.get("returns", ""), said.get("events", "")


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, tuple):
        value = ",".join(str(part) for part in value)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "" if value in (None, "", ()) else f"`{value}`"
