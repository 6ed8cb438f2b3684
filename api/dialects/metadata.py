"""Checks a job's `metadata`: OpenAI's limits on the pairs, and one on their size together."""

from pydantic_core import to_json

from api.dialects.refusals import invalid
from api.dialects.strict_json import render

MAX_PAIRS = 16
MAX_KEY = 64
MAX_VALUE = 512
MAX_BYTES = 20 * 1024
"""As JSON in UTF-8, as records and events keep them; printable ASCII reaches the limits above first."""


def to_metadata(pairs: dict[str, str] | None) -> dict[str, str]:
    """Raises CallerError naming the pair."""
    if pairs is None:
        return {}
    if len(pairs) > MAX_PAIRS:
        raise invalid("metadata", f"takes up to {MAX_PAIRS} pairs")
    for key, value in pairs.items():
        if not 1 <= len(key) <= MAX_KEY or len(value) > MAX_VALUE:
            limits = f"should have 1 to {MAX_KEY} characters as a key and up to {MAX_VALUE} as a value"
            raise invalid(render([key], "metadata"), limits)
    if len(to_json(pairs)) > MAX_BYTES:
        raise invalid("metadata", f"takes up to {MAX_BYTES} bytes as JSON")
    return pairs
