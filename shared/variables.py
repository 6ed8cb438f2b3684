"""Variables of a model's chat template that callers and operators set, such as `enable_thinking`."""

import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

MOST_VARIABLES = 16
VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
RENDERED = r"^(messages|tools|documents|add_generation_prompt|continue_final_message|\w+_token)$"
"""Those that follow from the rest of a request and from the model: nobody sets them."""

Value: TypeAlias = bool | int | float | str
# Special tokens have other signs than these, so a template that writes a variable can forge none.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/ -]{0,64}$")]
Variable = (
    bool | Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[float, Field(allow_inf_nan=False)] | Word
)
VariableName = Annotated[str, Field(pattern=VARIABLE_NAME)]


def rendered(name: str) -> bool:
    return re.match(RENDERED, name) is not None


def _by_name(variables: tuple[tuple[str, Value], ...]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(variables, key=lambda pair: pair[0]))


Variables = Annotated[
    tuple[tuple[VariableName, Variable], ...], Field(max_length=MOST_VARIABLES), AfterValidator(_by_name)
]
