"""Reads `chat_template_kwargs`, vLLM's and SGLang's name for variables of a model's chat template."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from api.dialects.refusals import invalid
from api.dialects.strict_json import render
from shared.variables import MOST_VARIABLES, Value, Variable, VariableName, Variables, rendered

_NAME: TypeAdapter[str] = TypeAdapter(VariableName)
_VALUE: TypeAdapter[Value] = TypeAdapter(Variable)


def to_variables(value: dict[str, Any], param: str) -> Variables | None:
    """Null sets nothing. Raises CallerError naming the variable."""
    if len(value) > MOST_VARIABLES:
        raise invalid(param, f"takes up to {MOST_VARIABLES} variables")
    return (
        tuple(_pair(name, held, render([name], param)) for name, held in value.items() if held is not None)
        or None
    )


def _pair(name: str, value: Any, at: str) -> tuple[str, Value]:
    if rendered(name):
        raise invalid(at, "is given to the template by this service; remove it")
    try:
        return _NAME.validate_python(name), _VALUE.validate_python(value, strict=True)
    except ValidationError:
        reason = (
            "should be a variable's name with true, false, a number of up to a million, or up to 64 letters, "
            "digits, blanks and _.:/- as its value"
        )
        raise invalid(at, reason) from None
