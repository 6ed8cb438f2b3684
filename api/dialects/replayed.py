"""Parts of conversations that callers send back, with fields that other services and clients have added."""

from typing import Any

from pydantic import ConfigDict, model_validator

from api.dialects.strict_json import Wire

NOTHING: tuple[Any, ...] = (None, [], {})
UNREAD = "cache_control"
"""Anthropic's mark for what to cache: on other services it speeds an answer up, and never changes it."""


def _open(schema: dict[str, Any]) -> None:
    """Leave unknown fields out: generators of typed clients could not express what they may hold."""
    del schema["additionalProperties"]


class Replayed(Wire):
    """A piece of a conversation, or a function: an unknown field is refused unless it holds nothing."""

    model_config = ConfigDict(json_schema_extra=_open)

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() <= cls.model_fields.keys():
            return value
        return {name: held for name, held in value.items() if name in cls.model_fields or _asks(name, held)}


def _asks(name: str, held: Any) -> bool:
    return name != UNREAD and held not in NOTHING
