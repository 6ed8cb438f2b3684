"""Reads generation parameters, under every spelling that clients use, into one `Parameters`."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from api.dialects.formats import ResponseFormat, StructuredOutputs, to_format
from api.dialects.strict_json import Asking, Harmless, Wire, caller_error, invalid, render, unsupported, whole
from shared.job import Priority
from shared.request import Parameters
from shared.variables import MOST_VARIABLES, Value, Variable, VariableName, Variables, rendered

# Reads `chat_template_kwargs`, vLLM's and SGLang's name for variables of a model's chat template.

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


MAX_STOPS = 16
MAX_STOP_LENGTH = 256
# One spelling for each id, so that none can occur twice.
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,9}")

# Counts that no model reaches, kept within what tensors and Lua can hold.
Count = Annotated[int, Field(lt=2**31)]

SPELLINGS = {
    "max_new_tokens": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "max_output_tokens": "max_new_tokens",
    "min_new_tokens": "min_new_tokens",
    "min_tokens": "min_new_tokens",
    "do_sample": "do_sample",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "logit_bias": "logit_bias",
    "seed": "seed",
    "random_seed": "seed",
    "n": "n",
    "num_return_sequences": "n",
    "stop": "stop",
    "stop_sequences": "stop",
    "stop_token_ids": "stop_token_ids",
    "ignore_eos": "ignore_eos",
    "response_format": "format",
    "structured_outputs": "format",
    "grammar": "format",
    "format": "format",
    "chat_template_kwargs": "chat_template_kwargs",
}


class Sampling(Asking):
    """What every family spells alike."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: Count | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None


class TokenSampling(Sampling):
    """What OpenAI's routes and jobs take beside it; all but three have vLLM's names."""

    n: Count | None = None
    min_tokens: Count | None = None
    logit_bias: dict[str, float] | list[float] | None = None
    stop_token_ids: list[Annotated[int, BeforeValidator(whole)]] | None = None
    ignore_eos: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    chat_template_kwargs: dict[str, Any] | None = None


def to_parameters(
    *sources: tuple[Wire, str], logprobs: int | None = None
) -> tuple[Parameters, dict[str, str]]:
    """Collect the parameters of all sources (a body and its path), and the path of each spelled otherwise.

    One parameter under two spellings must agree. Raises CallerError naming the field as the caller spelled
    it.
    """
    given: dict[str, tuple[str, Any]] = {}
    for body, at in sources:
        for spelled in (name for name in SPELLINGS if name in body.model_fields_set):
            name, param = SPELLINGS[spelled], render([spelled], at)
            value = _read(name, getattr(body, spelled), param)
            if value is None:
                continue
            first, known = given.setdefault(name, (param, value))
            if known != value:
                raise invalid(param, f"contradicts `{first}`; send one of them")
    named = {name: param for name, (param, _) in given.items() if name != param}
    _check_lengths(given)
    try:
        read = Parameters(**{name: value for name, (_, value) in given.items()}, logprobs=logprobs)
        return read, named
    except ValidationError as error:
        name = str(error.errors(include_input=False)[0]["loc"][0])
        raise caller_error(error, {}, given[name][0]) from None


def _read(name: str, value: Any, param: str) -> Any:
    """The value as `Parameters` holds it; None where it asks for nothing."""
    if value is None:
        return None
    if name == "stop":
        return _stops(value, param)
    if name == "logit_bias":
        return _biases(value, param)
    if name == "format":
        return to_format(value, param)
    if name == "chat_template_kwargs":
        return to_variables(value, param)
    if name == "n":
        return None if value == 1 else value
    if name == "top_k":
        # -1 is vLLM's value for all tokens.
        return 0 if value == -1 else value
    return value or None if name in ("stop_token_ids", "ignore_eos") else value


def _stops(value: str | list[str], param: str) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else tuple(value)
    if len(stops) > MAX_STOPS or not all(1 <= len(s) <= MAX_STOP_LENGTH for s in stops):
        raise invalid(param, f"takes up to {MAX_STOPS} strings of 1 to {MAX_STOP_LENGTH} characters")
    return stops


def _biases(value: dict[str, float] | list[float], param: str) -> tuple[tuple[int, float], ...] | None:
    """The biases by token id. Hugging Face's page describes a list, of which only an empty one is defined."""
    if isinstance(value, list):
        if value:
            raise unsupported(param)
        return None
    wrong = next((key for key in value if not _TOKEN_ID.fullmatch(key)), None)
    if wrong is not None:
        raise invalid(render([wrong], param), "is not a token id; write it in decimal digits")
    return tuple((int(key), bias) for key, bias in value.items() if bias) or None


def _check_lengths(given: dict[str, tuple[str, Any]]) -> None:
    (least_at, least), (most_at, most) = (
        given.get(n, ("", None)) for n in ("min_new_tokens", "max_new_tokens")
    )
    if least is not None and most is not None and least > most:
        raise invalid(least_at, f"is more than `{most_at}`")


# OpenAI's `service_tier`, which is a job's priority here.

Tier = Literal["auto", "default", "scale", "flex", "priority", "fast"]
CLASSES: dict[Tier, Priority] = {
    "auto": "normal",
    "default": "normal",
    "scale": "normal",
    "flex": "batch",
    "priority": "interactive",
    "fast": "interactive",
}
TIERS: dict[Priority, str] = {"interactive": "priority", "normal": "default", "batch": "flex"}
"""The tier that an answer names."""


# Parameters of vLLM's and SGLang's chats and completions that are known by name but not implemented.


class VllmNames(Wire):
    """Each takes the values that ask for nothing: vLLM's and SGLang's own defaults."""

    return_cached_tokens_details: Annotated[bool | None, Harmless(False)] = None
    return_hidden_states: Annotated[bool | None, Harmless(False)] = None
    stream_reasoning: Annotated[bool | None, Harmless(True)] = None
    bad_words: Annotated[list[str] | None, Harmless([])] = None
    best_of: Annotated[int | None, Harmless(1)] = None
    echo: Annotated[bool | None, Harmless(False)] = None
    include_reasoning: Annotated[bool | None, Harmless(True)] = None
    include_stop_str_in_output: Annotated[bool | None, Harmless(False)] = None
    kv_transfer_params: Annotated[dict[str, Any] | None, Harmless()] = None
    length_penalty: Annotated[float | None, Harmless(1.0)] = None
    logits_processors: Annotated[list[Any] | None, Harmless([])] = None
    media_io_kwargs: Annotated[dict[str, Any] | None, Harmless({})] = None
    mm_processor_kwargs: Annotated[dict[str, Any] | None, Harmless({})] = None
    no_stop_trim: Annotated[bool | None, Harmless(False)] = None
    priority: Annotated[int | None, Harmless(0)] = None
    prompt_logprobs: Annotated[int | None, Harmless()] = None
    return_token_ids: Annotated[bool | None, Harmless(False)] = None
    return_tokens_as_token_ids: Annotated[bool | None, Harmless(False)] = None
    separate_reasoning: Annotated[bool | None, Harmless(True)] = None
    skip_special_tokens: Annotated[bool | None, Harmless(True)] = None
    spaces_between_special_tokens: Annotated[bool | None, Harmless(True)] = None
    use_beam_search: Annotated[bool | None, Harmless(False)] = None
    vllm_xargs: Annotated[dict[str, Any] | None, Harmless({})] = None
    add_special_tokens: bool | None = None
