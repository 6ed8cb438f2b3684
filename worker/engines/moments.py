"""Formats of times and durations, narrowed to what parsers take.

llguidance's have a second 60, which is none but where a leap second was, and numbers of any length.
"""

from typing import Any

SECOND = r"[0-5][0-9](\.[0-9]{1,9})?[zZ+-]"
# Each is kept beside llguidance's own.
NARROWER = {
    "date-time": f"^.{{17}}{SECOND}",
    "time": f"^.{{6}}{SECOND}",
    "duration": "^([A-Z]+[0-9]{1,6})+[A-Z]$",
}


def translate(schema: dict[str, Any]) -> None:
    """It may have a pattern of its own."""
    form, parts = schema.get("format"), schema.get("allOf", [])
    if isinstance(form, str) and form in NARROWER and isinstance(parts, list):
        schema["allOf"] = [*parts, {"pattern": NARROWER[form]}]
