"""A model's own generation config: checked before its weights are read, and settled for our callers."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from transformers import GenerationConfig

from shared.errors import ModelFailed
from shared.models import Model
from worker.engines.sampling import MIN_TEMPERATURE

FILE = "generation_config.json"
# Beams and several answers revise or multiply what readers have; lengths and times are the service's own.
NOT_THEIRS = ("max_length", "max_time", "num_beams", "num_return_sequences")

Number = Annotated[float, Field(allow_inf_nan=False)]


class Written(BaseModel):
    """What the file may say of the keys that answers are drawn by: no other value draws a token."""

    model_config = ConfigDict(strict=True, extra="ignore")

    do_sample: bool | Literal[0, 1] | None = None
    temperature: Number | None = Field(None, ge=0)
    top_k: Annotated[float, Field(ge=-1, multiple_of=1)] | None = None
    top_p: Number | None = Field(None, ge=0)
    min_p: Number | None = Field(None, ge=0, le=1)
    typical_p: Number | None = Field(None, gt=0)
    repetition_penalty: Number | None = Field(None, gt=0)
    eos_token_id: int | list[int] | None = None
    suppress_tokens: list[int] | None = None


def check_defaults(model: Model, folder: Path) -> None:
    """Raises ModelFailed naming the file, and the key where one of its values can draw nothing."""
    what = f"model {model.id}: its {FILE}"
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ModelFailed(f"{what} cannot be read as JSON ({error}); mend or remove it.") from None
    if not isinstance(said, dict):
        raise ModelFailed(f"{what} is no JSON object; mend or remove it.")
    try:
        Written.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise ModelFailed(f"{what} has {key} = {said[key]!r}: {first['msg']}.") from None


def settle(defaults: GenerationConfig) -> None:
    """Leaves out what is not the model's to say; a temperature of 0 draws nothing, as a caller's.

    A `top_k` of -1 is vLLM's word for none.
    """
    for name in NOT_THEIRS:
        setattr(defaults, name, None)
    if defaults.top_k is not None:
        defaults.top_k = max(0, int(defaults.top_k))
    if defaults.temperature is not None:
        defaults.do_sample = bool(defaults.do_sample) and defaults.temperature > 0
        defaults.temperature = max(defaults.temperature, MIN_TEMPERATURE)
