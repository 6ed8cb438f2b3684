"""Narrows a schema's formats of times and durations to what parsers accept.

llguidance's own formats allow a second 60, which exists only at a leap second, and numbers of any length.
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
    """Add the pattern under `allOf`, because the schema may have one of its own."""
    form, parts = schema.get("format"), schema.get("allOf", [])
    if isinstance(form, str) and form in NARROWER and isinstance(parts, list):
        schema["allOf"] = [*parts, {"pattern": NARROWER[form]}]
