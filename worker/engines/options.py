"""Reads the `options` of a model's row for the engine that the row names."""

from typing import TypeVar

from pydantic import ValidationError

from shared.models import Model
from shared.request import Frozen
from shared.settings import SettingsError

Options = TypeVar("Options", bound=Frozen)


def read_options(model: Model, kind: type[Options], engine: str) -> Options:
    """Raises SettingsError naming the option, and those that the engine knows."""
    try:
        return kind.model_validate(model.options)
    except ValidationError as error:
        first = error.errors()[0]
        names = ", ".join(kind.model_fields)
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"model {model.id}: options.{where}: {first['msg']} (the engine {engine} knows {names})"
        ) from None
