"""What callers send back of conversations that other services, and clients, have written into as well."""

from typing import Any

from pydantic import ConfigDict, model_validator

from api.dialects.strict_json import Wire

NOTHING: tuple[Any, ...] = (None, [], {})
UNREAD = "cache_control"
"""Anthropic's word for what is worth keeping: it makes an answer sooner elsewhere, never another one."""


def _open(schema: dict[str, Any]) -> None:
    """What an unknown field may hold cannot be said in words that makers of typed clients understand."""
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
