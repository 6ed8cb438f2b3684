"""Base of the bodies that ask a model something: null under an unknown name is ignored."""

from typing import Any

from pydantic import model_validator

from api.dialects.strict_json import Wire


class Asking(Wire):
    """Clients that dump a whole request of another service send what it does not ask for as null.

    So null asks for nothing under an unknown name, too: a misspelt name hides nothing by it.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: held for name, held in value.items() if name in cls.model_fields or held is not None}
