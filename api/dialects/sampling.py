"""Reads sampling parameters, under every spelling that clients use, into one `Parameters`."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from api.dialects.formats import Grammar, ResponseFormat, StructuredOutputs, of_kind, to_format
from api.dialects.strict_json import (
    RequestBody,
    Wire,
    caller_error,
    described_as,
    invalid,
    render,
    unsupported,
    whole,
)
from api.dialects.unknown_fields import FRAME, GUIDED, SPELLINGS
from shared.job import Priority
from shared.request import (
    MAX_BIASES,
    WHATEVER_FITS,
    Choices,
    FrameCount,
    FrameRate,
    MaxTokens,
    MinTokens,
    NgramSize,
    Parameters,
    PixelCount,
    Probability,
    RepetitionPenalty,
    Seed,
    StopIds,
    Temperature,
    TokenPenalty,
    TypicalP,
)
from shared.request import RepetitionDetection as Repetitions
from shared.variables import (
    MOST_VARIABLES,
    RENDERED,
    VARIABLE_NAME,
    Value,
    Variable,
    VariableName,
    Variables,
    Word,
    rendered,
)

MAX_STOPS = 16
MAX_STOP_LENGTH = 256
# One spelling for each id, so that none can occur twice.
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,9}")

_VARIABLE_NAME: TypeAdapter[str] = TypeAdapter(VariableName)
_VARIABLE: TypeAdapter[Value] = TypeAdapter(Variable)

# Counts that no model reaches, kept within what tensors and Lua can hold.
Count = Annotated[int, Field(lt=2**31)]
TopK = Annotated[int, Field(ge=-1, lt=2**31)]
"""0 and, as vLLM writes it, -1 are all tokens."""


def _what_fits(count: Any) -> Any:
    fits = isinstance(count, int) and (count == -1 or count > WHATEVER_FITS)
    return WHATEVER_FITS if fits else count


_MAX_TOKENS = WithJsonSchema({"type": "integer", "minimum": -1, "not": {"type": "integer", "const": 0}})
MaxTokensField = Annotated[MaxTokens, BeforeValidator(_what_fits), _MAX_TOKENS] | None
"""-1 is what fits."""
PriorityNumber = Annotated[int, Field(description="Lower comes first; 0 is normal.")] | None
MinTokensField = Annotated[MinTokens, Field(lt=2**31)] | None
_Stop = Annotated[str, Field(max_length=MAX_STOP_LENGTH)]
_Stops = Annotated[list[_Stop], Field(max_length=MAX_STOPS)]
StopField = _Stop | _Stops | None
LogitBias = Annotated[
    dict[str, float] | list[float],
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "maxProperties": MAX_BIASES,
                    "propertyNames": {"pattern": "^(0|[1-9][0-9]*)$"},
                    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
                },
                {"type": "array", "items": {"type": "number"}, "maxItems": 0},
            ]
        }
    ),
]
TemplateVariables = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "Variables of the model's chat template.",
            "maxProperties": MOST_VARIABLES,
            "propertyNames": {"pattern": VARIABLE_NAME, "not": {"pattern": RENDERED}},
            "additionalProperties": {
                "anyOf": [*TypeAdapter(Variable).json_schema()["anyOf"], {"type": "null"}]
            },
        }
    ),
]

AnsweredTier = Literal["default", "flex", "priority"]
PRIORITIES: dict[str, Priority] = {"flex": "batch", "priority": "interactive", "fast": "interactive"}
SERVICE_TIERS: dict[Priority, AnsweredTier] = {
    "interactive": "priority",
    "normal": "default",
    "batch": "flex",
}


def to_priority(tier: str | None, number: int | None = None) -> Priority:
    """Of OpenAI's `service_tier`, or of vLLM's number: the lower comes first. Unknown tiers say nothing."""
    if tier in PRIORITIES or not number:
        return PRIORITIES.get(tier or "", "normal")
    return "interactive" if number < 0 else "batch"


NO_PARAMETERS = Parameters()
DEFAULTS = {"n": 1, "ignore_eos": False, "skip_special_tokens": True, "include_reasoning": True}
FRAMES = ("num_frames", "fps")
EDGES = {"shortest_edge": "min_pixels", "longest_edge": "max_pixels"}
_PIXELS = ("min_pixels", "max_pixels", *(f"size.{edge}" for edge in EDGES))
NESTED = (
    "vllm_xargs.no_repeat_ngram_size",
    *(f"mm_processor_kwargs.{name}" for name in (*_PIXELS, *FRAMES)),
    *(f"mm_processor_kwargs.images_kwargs.{name}" for name in _PIXELS),
    *(f"media_io_kwargs.video.{name}" for name in FRAMES),
)
"""Where parameters stand in objects of a body."""


class RepetitionDetection(Repetitions, RequestBody):
    """With hints beside it."""

    model_config = ConfigDict(extra="ignore")


class ThinkingType(RequestBody):
    type: Literal["enabled", "disabled", "auto"]


class Thinking(RequestBody):
    """What Alibaba's and ByteDance's services call the template's variable `enable_thinking`, and OpenAI's
    word for how long to think: a template's variable, too, which most of them do not read.
    """

    enable_thinking: bool | None = None
    thinking: ThinkingType | None = None
    reasoning_effort: Word | None = None


class FrameSampling(RequestBody):
    """Which frames of a video a model is shown: so many, or so many of each second."""

    constraints = FRAME
    num_frames: FrameCount | None = None
    fps: FrameRate | None = None


class EdgePixels(RequestBody):
    """As the Qwen processors name the fewest and the most pixels of a picture."""

    shortest_edge: PixelCount | None = None
    longest_edge: PixelCount | None = None


class PixelLimits(RequestBody):
    min_pixels: PixelCount | None = None
    max_pixels: PixelCount | None = None
    size: EdgePixels | None = None


class ProcessorArguments(FrameSampling, PixelLimits):
    images_kwargs: PixelLimits | None = None


class MediaOptions(RequestBody):
    video: FrameSampling | None = None


class ProcessorOptions(RequestBody):
    """What MinerU's client tells the logits processor that it brings to vLLM's server."""

    no_repeat_ngram_size: NgramSize | None = None


class VllmOptions(RequestBody):
    """Objects in which vLLM's clients send options to its parts."""

    media_io_kwargs: MediaOptions | None = None
    mm_processor_kwargs: ProcessorArguments | None = None
    vllm_xargs: ProcessorOptions | None = None


class Sampling(FrameSampling, Thinking, VllmOptions):
    """Every parameter in every spelling: a body takes them all."""

    n: Choices | None = None
    num_return_sequences: Choices | None = None
    max_tokens: MaxTokensField = None
    max_new_tokens: MaxTokensField = None
    max_completion_tokens: MaxTokensField = None
    max_output_tokens: MaxTokensField = None
    min_tokens: MinTokensField = None
    min_new_tokens: MinTokensField = None
    do_sample: bool | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None
    min_p: Probability | None = None
    typical_p: TypicalP | None = None
    repetition_penalty: RepetitionPenalty | None = None
    frequency_penalty: TokenPenalty | None = None
    presence_penalty: TokenPenalty | None = None
    no_repeat_ngram_size: NgramSize | None = None
    logit_bias: LogitBias | None = None
    seed: Seed | None = None
    random_seed: Seed | None = None
    stop: StopField = None
    stop_sequences: StopField = None
    stop_token_ids: Annotated[
        list[Annotated[int, BeforeValidator(whole)]] | None, described_as(StopIds | None)
    ] = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    include_reasoning: bool | None = None
    repetition_detection: RepetitionDetection | None = None
    min_pixels: PixelCount | None = None
    max_pixels: PixelCount | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    regex: str | None = None
    ebnf: str | None = None
    grammar: str | Grammar | None = None
    json_schema: str | dict[str, Any] | None = None
    chat_template_kwargs: TemplateVariables | None = None


HOLDERS = {"chat_template_kwargs", *Thinking.model_fields, *VllmOptions.model_fields}
"""Fields in which parameters, or variables of the template, stand under other names."""


def to_parameters(
    *sources: tuple[Wire, str], logprobs: int | None = None
) -> tuple[Parameters, dict[str, str]]:
    """Collect the parameters of all sources (a body and its path), and the path of each spelled otherwise.

    One parameter under two spellings must agree. Raises CallerError naming the field as the caller spelled
    it.
    """
    values: dict[str, tuple[str, Any]] = {}
    for body, at in sources:
        fields = body.model_fields_set
        sent = ((SPELLINGS[s], getattr(body, s), [s]) for s in SPELLINGS if s in fields)
        inner = () if fields.isdisjoint(HOLDERS) else (*_template_variables(body, at), *_nested(body))
        for name, raw, path in chain(sent, inner):
            param = render(path, at)
            value = _read(name, raw, param)
            if value is None:
                continue
            first, other = values.setdefault(name, (param, value))
            if other != value:
                raise invalid(param, f"contradicts `{first}`; send one of them")
    if not values and logprobs is None:
        return NO_PARAMETERS, {}
    if "num_frames" in values and "fps" in values:
        raise invalid(values["fps"][0], f"excludes `{values['num_frames'][0]}`; send one of them")
    named = {name: param for name, (param, _) in values.items() if name != param}
    _check_lengths(values)
    try:
        arguments = {name: value for name, (_, value) in values.items()}
        return Parameters(**arguments, logprobs=logprobs), named
    except ValidationError as error:
        name = str(error.errors(include_input=False)[0]["loc"][0])
        raise caller_error(error, {}, values[name][0]) from None


def _read(name: str, value: Any, param: str) -> Any:
    """The value as `Parameters` holds it; None where it asks for nothing."""
    if value in (None, ""):
        return None
    if name == "stop":
        return tuple(filter(None, [value] if isinstance(value, str) else value)) or None
    if name == "logit_bias":
        return _biases(value, param)
    if name == "format":
        if isinstance(value, str | dict | list):
            return of_kind(GUIDED[param.rpartition(".")[2]], value, param)
        return to_format(value, param)
    if name == "chat_template_kwargs":
        return to_variables(value, param)
    if (name, value) in DEFAULTS.items():
        return None
    if name == "repetition_detection":
        return value if value.max_pattern_size else None
    if name == "top_k":
        # -1 is vLLM's value for all tokens.
        return 0 if value == -1 else value
    return value or None if name == "stop_token_ids" else value


def _template_variables(body: Wire, at: str) -> Iterator[tuple[str, Any, list[str]]]:
    """Raises CallerError where `enable_thinking` is said twice, and otherwise."""
    sent = getattr(body, "chat_template_kwargs", None) or {}
    variables = {name: value for name, value in sent.items() if value is not None}
    if isinstance(body, Thinking):
        type = body.thinking.type if body.thinking else "auto"
        thinking = None if type == "auto" else type == "enabled"
        for name, value in (("enable_thinking", body.enable_thinking), ("thinking", thinking)):
            if value is not None and variables.setdefault("enable_thinking", value) != value:
                raise invalid(render([name], at), "contradicts what else is said of `enable_thinking`")
        if body.reasoning_effort not in (None, "none"):
            variables.setdefault("reasoning_effort", body.reasoning_effort)
    names = ("chat_template_kwargs", "enable_thinking", "thinking", "reasoning_effort")
    spelling = next((name for name in names if getattr(body, name, None) is not None), names[0])
    yield "chat_template_kwargs", variables or None, [spelling]


def _nested(body: Wire) -> Iterator[tuple[str, Any, list[str]]]:
    """Each parameter with where it stands: vLLM's names, and those of `transformers serve`."""
    variables = getattr(body, "chat_template_kwargs", None) or {}
    yield from ((name, variables.get(name), ["chat_template_kwargs", name]) for name in FRAMES)
    for path in NESTED:
        value: Any = body
        for step in path.split("."):
            value = getattr(value, step, None)
        yield EDGES.get(step, step), value, path.split(".")


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


def _check_lengths(values: dict[str, tuple[str, Any]]) -> None:
    for names in (("min_new_tokens", "max_new_tokens"), ("min_pixels", "max_pixels")):
        (least_at, least), (most_at, most) = (values.get(n, ("", None)) for n in names)
        if least is not None and most is not None and least > most:
            raise invalid(least_at, f"is more than `{most_at}`")


def to_variables(value: dict[str, Any], param: str) -> Variables | None:
    """Null sets nothing. Raises CallerError naming the variable."""
    if len(value) > MOST_VARIABLES:
        raise invalid(param, f"takes up to {MOST_VARIABLES} variables")
    pairs = (
        _variable(name, v, render([name], param))
        for name, v in value.items()
        if v is not None and name not in FRAMES
    )
    return tuple(pairs) or None


def _variable(name: str, value: Any, at: str) -> tuple[str, Value]:
    if rendered(name):
        raise invalid(at, "is given to the template by this service; remove it")
    try:
        return _VARIABLE_NAME.validate_python(name), _VARIABLE.validate_python(value, strict=True)
    except ValidationError:
        reason = (
            "should be a variable's name with true, false, a number of up to a million, or up to 64 letters, "
            "digits, blanks and _.:/- as its value"
        )
        raise invalid(at, reason) from None
