"""Variables of a model's chat template that callers and operators set, such as `enable_thinking`."""

import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

MOST_VARIABLES = 16
VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
RENDERED = (
    r"^(messages|tools|documents|conversations?|images|videos|chat_template|tokenize|add_generation_prompt"
    r"|continue_final_message|return_\w+|load_audio_from_video|sanitize_control_tokens|\w+_(token|kwargs))$"
)
"""Those that follow from the request and the model, or that transformers takes itself: nobody sets them."""

LARGEST = 10**6
"""Of numbers: a template may repeat a text so often."""

Value: TypeAlias = bool | int | float | str
# Special tokens have other signs than these: a template forges none unless it writes those around one.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/ -]{0,64}$")]
Variable = (
    bool
    | Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
    | Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
    | Word
)
VariableName = Annotated[str, Field(pattern=VARIABLE_NAME)]


def rendered(name: str) -> bool:
    return re.match(RENDERED, name) is not None


Variables = Annotated[
    tuple[tuple[VariableName, Variable], ...],
    Field(max_length=MOST_VARIABLES),
    AfterValidator(lambda pairs: tuple(sorted(pairs, key=lambda pair: pair[0]))),
]
