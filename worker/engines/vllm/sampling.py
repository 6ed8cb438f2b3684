"""Translates a request's parameters into vLLM's SamplingParams."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher

from shared.errors import CallerError
from shared.request import Format, Parameters, Request
from worker.engines.grammar.lark import behind_thoughts, json_schema, lark
from worker.engines.loading.language import Language

# Bounds of the temperature in vLLM 0.33, which refuses more, and raises less to this.
HOTTEST, COLDEST = 2.0, 0.01
NARROWEST = 1e-6
SEEDS = 2**63
"""Seeds below this: vLLM keeps them as signed numbers, and -1 means none."""
PUBLISHED, NGRAM_SIZE = "sightline_published", "sightline_ngram_size"
"""The extra arguments for `logits_processors`: the published tokens; how many tokens come once only."""


def check(parameters: Parameters) -> None:
    """Raises CallerError for parameters that vLLM does not support."""
    if (parameters.temperature or 0) > HOTTEST:
        message = f"This model takes a temperature of {HOTTEST:g} at most."
        raise CallerError("invalid_request", message, param="temperature")
    if (parameters.typical_p or 1) < 1 and parameters.samples(True):
        message = "This model's engine knows no typical_p; leave it out, or say `do_sample: false`."
        raise CallerError("unsupported_parameter", message, param="typical_p")


def sampling(
    parameters: Parameters,
    *,
    budget: int,
    suppressed: Iterable[int],
    published: Sequence[int],
    ngram_size: int,
    defaults: Any,
) -> dict[str, Any]:
    """`defaults` is the model's own GenerationConfig, `budget` the longest answer in tokens.

    Stop strings are not passed on: they are found where tokens become text.
    """
    return {
        "max_tokens": budget,
        "min_tokens": parameters.min_new_tokens or 0,
        "ignore_eos": bool(parameters.ignore_eos),
        "stop_token_ids": list(parameters.stop_token_ids or ()),
        "repetition_penalty": _first(parameters.repetition_penalty, defaults.repetition_penalty, 1.0),
        "frequency_penalty": parameters.frequency_penalty or 0.0,
        "presence_penalty": parameters.presence_penalty or 0.0,
        "logit_bias": _biases(parameters, suppressed) or None,
        # With 0 the chosen token's logprob is still returned, which the score needs.
        "logprobs": parameters.logprobs or 0,
        "detokenize": False,
        "extra_args": {PUBLISHED: list(published), NGRAM_SIZE: ngram_size}
        if published or ngram_size
        else None,
        **_dice(parameters, defaults),
    }


def _dice(parameters: Parameters, defaults: Any) -> dict[str, Any]:
    if not parameters.samples(bool(defaults.do_sample)):
        return {"temperature": 0.0}
    return {
        "temperature": max(COLDEST, _first(parameters.temperature, defaults.temperature, 1.0)),
        "top_p": max(NARROWEST, _first(parameters.top_p, defaults.top_p, 1.0)),
        "top_k": _first(parameters.top_k, defaults.top_k),
        "min_p": _first(parameters.min_p, defaults.min_p, 0.0),
        "seed": None if parameters.seed is None else parameters.seed % SEEDS,
    }


def _biases(parameters: Parameters, suppressed: Iterable[int]) -> dict[int, float]:
    """-100 bans a token, as in the other engines; no bias brings back a suppressed one."""
    biases = {id_: -float("inf") if bias <= -100 else bias for id_, bias in parameters.logit_bias or ()}
    return biases | dict.fromkeys(suppressed, -float("inf"))


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


# Where the llguidance of vLLM 0.33 takes a blank between other characters, it takes any number of them.
SPACING: dict[str, str | bool] = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
}


@dataclass(frozen=True)
class Constraint:
    """`params` go to vLLM's StructuredOutputsParams; `matcher` checks the answer in this process."""

    matcher: LLMatcher
    params: dict[str, str]


def form(language: Language, request: Request, caller: str) -> Constraint | None:
    """None if any text is allowed. Raises CallerError as `worker.engines.base.Engine.grammar` says."""
    matcher = language.grammar(request, caller)
    if matcher is None:
        return None
    calling, format = language.calling(request, SPACING), request.parameters.format
    mark, thoughts = language.grammars.mark, language.renderer.template.thoughts_of(request)
    if calling is not None:
        return Constraint(matcher, {"grammar": behind_thoughts(calling.lark(mark), thoughts, mark)})
    if format is not None and thoughts is not None:
        return Constraint(matcher, {"grammar": behind_thoughts(lark(format, SPACING), thoughts, mark)})
    return Constraint(matcher, {} if format is None else structured(format))


def structured(format: Format) -> dict[str, str]:
    """The format as vLLM takes it, which reads it with llguidance, as our own engines do."""
    if format.kind == "json":
        return {"json": json_schema(format.content, SPACING)}
    return {"grammar": lark(format, SPACING)}
