"""Documented parameters that are known by name but not implemented: which of their values ask for nothing."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from api.dialects.refusals import unsupported
from api.dialects.strict_json import Wire, render


class Harmless:
    """Marks a field that is not implemented, with the values that are taken all the same."""

    def __init__(self, *values: Any) -> None:
        self.values = values


@cache
def harmless(body: type[Wire]) -> Mapping[str, tuple[Any, ...]]:
    """The values that ask for nothing, by field."""
    marks = {name: mark for name, field in body.model_fields.items() for mark in field.metadata}
    return {name: mark.values for name, mark in marks.items() if isinstance(mark, Harmless)}


def refuse_unsupported(body: Wire, at: str = "") -> None:
    """Refuse parameters that would change the answer but are not implemented, those of objects within too.

    Raises CallerError `unsupported_parameter`.
    """
    taken, given = harmless(type(body)), body.model_fields_set
    for name in (name for name in type(body).model_fields if name in given):
        value = getattr(body, name)
        if isinstance(value, Wire):
            refuse_unsupported(value, render([name], at))
        elif value is not None and name in taken and value not in taken[name]:
            raise unsupported(render([name], at))
