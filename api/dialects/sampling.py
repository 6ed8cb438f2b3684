"""Generation parameters under every spelling that clients use, read into one `Parameters`."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from api.dialects.refusals import invalid, unsupported
from api.strict_json import Wire, caller_error, render
from shared.request import Parameters

MAX_STOPS = 4
MAX_STOP_LENGTH = 256

# Counts that no model reaches, kept within what tensors and Lua can hold.
Count = Annotated[int, Field(lt=2**31)]

SPELLINGS = {
    "max_new_tokens": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "do_sample": "do_sample",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop": "stop",
    "stop_sequences": "stop",
}


class Sampling(Wire):
    """What every family spells alike."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: Count | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None


def to_parameters(*sources: tuple[Wire, str]) -> tuple[Parameters, dict[str, str]]:
    """Collect what the sources (a body and its path) say, and the path of each that was spelled otherwise.

    One parameter under two spellings must agree. Raises CallerError naming the field as the caller spelled
    it.
    """
    given: dict[str, tuple[str, Any]] = {}
    for body, at in sources:
        for spelled in (name for name in SPELLINGS if name in body.model_fields_set):
            value = getattr(body, spelled)
            if value is None:
                continue
            name = SPELLINGS[spelled]
            param = render([spelled], at)
            if name == "stop":
                value = _stops(value, param)
            first, known = given.setdefault(name, (param, value))
            if known != value:
                raise invalid(param, f"contradicts `{first}`; send one of them")
    named = {name: param for name, (param, _) in given.items() if name != param}
    try:
        return Parameters(**{name: value for name, (_, value) in given.items()}), named
    except ValidationError as error:
        name = str(error.errors(include_input=False)[0]["loc"][0])
        raise caller_error(error, {}, given[name][0]) from None


def refuse_unsupported(body: Wire, harmless: Mapping[str, tuple[Any, ...]], at: str = "") -> None:
    """Refuse documented parameters that would change the answer but are not implemented.

    `harmless` lists, by field, the values that ask for nothing. Raises CallerError `unsupported_parameter`.
    """
    for name in (name for name in harmless if name in body.model_fields_set):
        value = getattr(body, name)
        if value is not None and value not in harmless[name]:
            raise unsupported(render([name], at))


def _stops(value: str | list[str], param: str) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else tuple(value)
    if len(stops) > MAX_STOPS or not all(1 <= len(s) <= MAX_STOP_LENGTH for s in stops):
        raise invalid(param, f"takes up to {MAX_STOPS} strings of 1 to {MAX_STOP_LENGTH} characters")
    return stops
