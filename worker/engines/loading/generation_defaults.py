"""Checks a model's own generation config before its weights are read, and drops what the service decides."""

import json
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from transformers import GenerationConfig

from shared.errors import ModelFailed
from shared.models import Model
from worker.engines.sampling.processors import MIN_TEMPERATURE

FILE = "generation_config.json"


Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class GenerationFile(BaseModel):
    """The keys of the file that are used, with the values that they may have.

    They are those that change how a single next token is drawn, and what ends an answer. Other keys, also
    those of later versions of transformers, are left out: beams, candidates and searches revise or multiply
    what readers already have, or draw several tokens in a step; lengths, times and the kind of cache are the
    service's to decide. What may be anything here fails at the first made-up question, as transformers says.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    do_sample: bool | Literal[0, 1] | None = None
    temperature: Number | None = Field(None, ge=0)
    top_k: Annotated[float, Field(ge=-1, multiple_of=1)] | None = None
    top_p: Number | None = Field(None, ge=0)
    min_p: Number | None = Field(None, ge=0, le=1)
    top_h: Number | None = Field(None, gt=0, le=1)
    typical_p: Number | None = Field(None, gt=0)
    epsilon_cutoff: Number | None = None
    eta_cutoff: Number | None = None

    repetition_penalty: Number | None = Field(None, gt=0)
    encoder_repetition_penalty: Number | None = Field(None, gt=0)
    no_repeat_ngram_size: Count | None = None
    encoder_no_repeat_ngram_size: Count | None = None
    exponential_decay_length_penalty: Any = None
    sequence_bias: Any = None
    bad_words_ids: Any = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    forced_bos_token_id: Any = None
    forced_eos_token_id: Any = None
    guidance_scale: Number | None = None
    watermarking_config: Any = None
    renormalize_logits: bool | None = None
    remove_invalid_values: bool | None = None

    min_length: Count | None = None
    min_new_tokens: Count | None = None
    stop_strings: str | list[str] | None = None
    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | list[int] | None = None
    decoder_start_token_id: int | list[int] | None = None

    use_cache: bool | None = None
    disable_compile: bool | None = None


def check_defaults(model: Model, folder: Path) -> None:
    """Raises ModelFailed naming the file, which is a JSON object, and the key whose value cannot be used."""
    subject = f"model {model.id}: its {FILE}"
    try:
        config = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    try:
        GenerationFile.model_validate(config)
        # transformers reads every key before any can be left out.
        GenerationConfig.from_dict(config)
    except ValidationError as error:
        # If a value may have several forms, report the one that it came closest to.
        fault = max(error.errors(), key=lambda one: len(one["loc"]))
        key = str(fault["loc"][0])
        raise ModelFailed(f"{subject} has {key} = {reprlib.repr(config[key])}: {fault['msg']}.") from None
    except (TypeError, ValueError) as error:
        raise ModelFailed(f"{subject} is refused by transformers: {error}") from None


TOP_K = 50


def settle(defaults: GenerationConfig) -> None:
    """Leave out what the service decides; a temperature of 0 turns off sampling, as for callers.

    A `top_k` of -1 is vLLM's word for none; where nothing is said, transformers takes TOP_K.
    """
    values = _values(defaults)
    for name in vars(GenerationConfig()):  # type: ignore[no-untyped-call]
        if not name.startswith("_"):
            setattr(defaults, name, values.get(name) if name in GenerationFile.model_fields else None)
    defaults.top_k = TOP_K if defaults.top_k is None else max(0, int(defaults.top_k))
    if defaults.temperature is not None:
        defaults.do_sample = bool(defaults.do_sample) and defaults.temperature > 0
        defaults.temperature = max(defaults.temperature, MIN_TEMPERATURE)


def _values(defaults: GenerationConfig) -> dict[str, Any]:
    """The values, numbers converted for transformers; a trusted folder's own class may have other forms."""
    values = vars(defaults)
    try:
        return dict(GenerationFile.model_validate(values))
    except ValidationError:
        return values
