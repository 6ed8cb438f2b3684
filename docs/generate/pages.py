"""The pages that describe code or measurements, made from these."""

from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docs.generate import behaviour, counted, measured
from docs.generate.tables import rows_of
from shared.errors import CODES
from shared.settings import fields

DOCS = Path(__file__).parents[1]

SETTINGS = """\
# What you can set

Environment variables, read once when a process starts. The unit is in the name: `_S` is seconds, `_MB` MiB.
An unknown name that begins with `SIGHTLINE_`, or a wrong value, stops the start.
"""

ERRORS = """\
# What to do about an error

Every error has one of these codes: under `/v1/jobs`, `/v1/estimate` and
`/v1/live` as `code` (problem details, RFC 9457), on other `/v1` routes as `error.code`, on Hugging Face's
routes as `error_type`; in a stream's last event, `error`, as `error.code`. Codes are never renamed.

*Retry*: the same request may succeed later. `Retry-After` then says when, within 59 s: for a
full queue the time its jobs need, for a [full Redis](decisions/reserve.md) 30 s. What each
client raises is on [their page](clients/README.md#errors-and-retries).
"""


def pages() -> dict[Path, str]:
    """Each generated page's text."""
    return {
        DOCS / "settings.md": _settings(),
        DOCS / "errors.md": _errors(),
        DOCS / "metrics.md": counted.page(),
        DOCS / "benchmarks.md": measured.page(),
        DOCS / "reference/behaviour.md": behaviour.page(),
    }


def _settings() -> str:
    rows = [(f"`{name}`", _default(field), field.description or "") for name, field in fields()]
    return SETTINGS + rows_of(("variable", "default", "meaning"), rows)


def _errors() -> str:
    ranked = sorted(CODES.items(), key=lambda item: item[1].status)
    rows = [
        (f"`{name}`", str(code.status), "yes" if code.retryable else "", code.remedy) for name, code in ranked
    ]
    return ERRORS + rows_of(("code", "status", "retry", "what to do"), rows)


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, tuple):
        value = ",".join(str(part) for part in value)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "" if value in (None, "", ()) else f"`{value}`"
