"""Writes docs/settings.md and docs/errors.md from what they describe: `python -m docs.generate`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.errors import CODES
from shared.settings import fields

HERE = Path(__file__).parent

SETTINGS = """\
# Settings

Environment variables, read once at the start of each process. The unit is in the name: `_S` seconds, `_MB`
MiB. An unknown name that begins with `SIGHTLINE_`, or a wrong value, stops the start with a sentence that
names it.
"""

ERRORS = """\
# Errors

Every error carries one of these codes: under `/v1/jobs` as `code` (problem details, RFC 9457), on the other
`/v1` routes as `error.code`, on Hugging Face's routes as `error_type`. Codes are never renamed. *Repeat* says
whether the same request may succeed later; `Retry-After` then says when.
"""


def pages() -> dict[Path, str]:
    """Each generated page's text."""
    return {HERE / "settings.md": _settings(), HERE / "errors.md": _errors()}


def _settings() -> str:
    rows = [(f"`{name}`", _default(field), field.description or "") for name, field in fields()]
    return SETTINGS + _table(("variable", "default", "meaning"), rows)


def _errors() -> str:
    ranked = sorted(CODES.items(), key=lambda item: item[1].status)
    rows = [
        (f"`{name}`", str(code.status), "yes" if code.retryable else "no", code.remedy)
        for name, code in ranked
    ]
    return ERRORS + _table(("code", "status", "repeat", "what to do"), rows)


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "" if value in (None, "", ()) else f"`{value}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
