"""Fields that no body describes: hints are ignored, constraints refused with what to send instead.

A field that would change the answer stands in one of the tables, with the values that ask for nothing. Every
other field is a hint: it is ignored, and a header of the answer names it unless it is well known (`HINTS`) or
empty.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from pydantic_core import PydanticCustomError

from shared.request import Parameters

LONGEST_LIST = 1000
"""Characters of the header; what else was ignored is three dots."""
_NOT_SHOWN = re.compile(r"[^!-+\--~]")


class Constraint(NamedTuple):
    """A field that is not implemented: `harmless` values ask for nothing, `instead` is what to send."""

    harmless: tuple[Any, ...] = ()
    instead: str | None = None

    @property
    def reason(self) -> str:
        if self.instead is None:
            return "is not implemented for this value; leave it out"
        return f"is not a field of this request; send `{self.instead}` instead"


Constraints = dict[str, Constraint]

GUIDED = {f"guided_{kind}": kind for kind in ("json", "regex", "choice", "grammar")}
GUIDED |= {"regex": "regex", "ebnf": "grammar"}
"""vLLM's older fields, and SGLang's, which hold what one of `structured_outputs` does."""
_FORMATS = ("response_format", "structured_outputs", *GUIDED)
SPELLINGS = {
    name: name for name in Parameters.model_fields if name not in ("logprobs", "chat_template_kwargs")
} | {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), "max_new_tokens"),
    **dict.fromkeys(("grammar", *_FORMATS), "format"),
    "min_tokens": "min_new_tokens",
    "random_seed": "seed",
    "num_return_sequences": "n",
    "stop_sequences": "stop",
}
"""The parameter that each field of a body sets."""
DEFAULTS = {"n": 1, "ignore_eos": False, "skip_special_tokens": True, "include_reasoning": True}
_IDLE = DEFAULTS | {"do_sample": False, "typical_p": 1, "logit_bias": {}}
_IDLE |= {"min_new_tokens": 0, "no_repeat_ngram_size": 0}
"""What asks for nothing."""

HINTS = frozenset(
    {
        # Who asks, and what makes an answer faster or tells more of how it was made.
        *("user", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("cache_control", "prompt_cache_breakpoint", "cache_prompt", "prediction", "client_metadata"),
        *("uuid", "use_cache", "max_retries", "id_slot", "return_progress", "include_obfuscation"),
        *("return_cached_tokens_details", "stream_reasoning", "vl_high_resolution_images", "debug"),
        # What other services and clients keep in a conversation.
        *("id", "index", "name", "description", "title", "parsed", "parsed_arguments", "annotations"),
        *("provider_specific_fields", "phase", "status", "format", "media_type", "mediaType", "filename"),
        *("reasoning", "reasoning_content", "reasoning_details", "role", "tool_calls", "logprobs"),
        # How a grammar is compiled, which every answer obeys in any case.
        *("disable_fallback", "guided_decoding_backend", "verbosity", "backend", "details"),
    }
)
_BEAMS = {
    "use_beam_search": Constraint((False,)),
    "num_beams": Constraint((1,)),
    "num_beam_groups": Constraint((1,)),
    "best_of": Constraint((1,), "n"),
    "length_penalty": Constraint((1.0,)),
    "penalty_alpha": Constraint((0.0,)),
}
_SAMPLERS = {
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "mirostat", "top_a"), Constraint((0,))),
    **dict.fromkeys(("dry_multiplier", "dynatemp_range", "xtc_probability"), Constraint((0,))),
    **dict.fromkeys(("tfs_z", "typical"), Constraint((1.0,), "typical_p")),
    **dict.fromkeys(("repeat_penalty", "rep_pen"), Constraint((1.0,), "repetition_penalty")),
    **dict.fromkeys(("n_predict", "num_predict", "max_tokens_to_sample"), Constraint((-1,), "max_tokens")),
    "allowed_token_ids": Constraint((), "logit_bias"),
    "thinking_token_budget": Constraint(),
    "guidance_scale": Constraint((1.0,)),
    "encoder_repetition_penalty": Constraint((1.0,), "repetition_penalty"),
    **dict.fromkeys(("bad_words_ids", "suppress_tokens", "sequence_bias"), Constraint((), "logit_bias")),
    **dict.fromkeys(("force_words_ids", "forced_eos_token_id", "diversity_penalty"), Constraint((0.0,))),
    "eos_token_id": Constraint((), "stop_token_ids"),
    "stop_strings": Constraint((), "stop"),
    "bad_words": Constraint((), "logit_bias"),
    "logits_processors": Constraint((), "logit_bias"),
}
_GRAMMARS = {
    **dict.fromkeys(
        ("grammar", "structural_tag"),
        Constraint((), "structured_outputs.grammar"),
    ),
    **dict.fromkeys(("json_schema", "format"), Constraint((), "response_format")),
    "guided_whitespace_pattern": Constraint(),
    "guided_json_object": Constraint((False,), "response_format"),
}
_SIZES = dict.fromkeys(("resized_height", "resized_width", "total_pixels"), Constraint((), "max_pixels"))
REQUEST: Constraints = {
    **_BEAMS,
    **_SIZES,
    **_SAMPLERS,
    **_GRAMMARS,
    "echo": Constraint((False,), "raw"),
    **dict.fromkeys(("chat_template", "documents", "prompt_embeds", "tools"), Constraint()),
    # Parameters, and not in the place where they are read.
    **dict.fromkeys(("extra_body", "sampling_params", "generation_config", "parameters"), Constraint(({},))),
    "include_stop_str_in_output": Constraint((False,)),
    "no_stop_trim": Constraint((False,)),
    "spaces_between_special_tokens": Constraint((True,)),
    "separate_reasoning": Constraint((True,)),
    "kv_transfer_params": Constraint(),
    "prompt_logprobs": Constraint((), "logprobs"),
    "return_hidden_states": Constraint((False,)),
    "return_token_ids": Constraint((False,), "logprobs"),
    "return_tokens_as_token_ids": Constraint((False,)),
    **dict.fromkeys(("adapter_id", "lora_path", "lora_request"), Constraint((), "model")),
    "truncate": Constraint(),
    "truncate_prompt_tokens": Constraint(),
    "watermark": Constraint((False,)),
    "decoder_input_details": Constraint((False,)),
    "top_n_tokens": Constraint((0,), "top_logprobs"),
    "max_length": Constraint((), "max_new_tokens"),
    "min_length": Constraint((0,), "min_new_tokens"),
    "max_time": Constraint((), "max_new_tokens"),
    "return_full_text": Constraint((False,)),
    "suffix": Constraint(),
    "moderation": Constraint(),
}
"""What no dialect implements, in vLLM's, SGLang's, transformers', llama.cpp's and Hugging Face's names."""
_FILES = [
    f"{noun}{ending}"
    for noun in ("image", "picture", "document", "pdf", "file", "audio", "sound", "video", "attachment")
    for ending in ("", "s", "_url", "_urls")
]


def contents(instead: str | None = None) -> Constraints:
    """What a question consists of, where it is not read: without that, another one would be answered."""
    texts = ("messages", "prompt", "input", "question", "system", "instructions")
    looks = ("min_pixels", "max_pixels", "background")
    return dict.fromkeys((*_FILES, *texts, *looks), Constraint(("", True, False), instead))


CHAT: Constraints = (
    contents("messages")
    | REQUEST
    | {
        "add_special_tokens": Constraint((False,)),
        "tool_prompt": Constraint((), "tools"),
        "functions": Constraint((), "tools"),
        "function_call": Constraint(("none", "auto"), "tool_choice"),
        "modalities": Constraint((["text"],)),
        "audio": Constraint(),
        "web_search_options": Constraint(),
        "safe_prompt": Constraint((False,)),
        "transforms": Constraint(),
    }
)
COMPLETION: Constraints = (
    contents()
    | REQUEST
    | {
        "add_special_tokens": Constraint((True,), "raw"),
        "top_logprobs": Constraint((), "logprobs"),
        "messages": Constraint((), "prompt"),
    }
)
RESPONSE: Constraints = (
    contents("input")
    | REQUEST
    | {
        "logprobs": Constraint((False,), "top_logprobs"),
        **dict.fromkeys(("format", "json_schema"), Constraint((), "text.format")),
        "conversation": Constraint((), "previous_response_id"),
        "context_management": Constraint(),
        "image": Constraint(({}, {"context_compression": "auto"}, {"context_compression": "disabled"})),
        "access_programs": Constraint(),
        "background_options": Constraint(({}, {"completion_window": "soonest"})),
    }
)
QUESTION: Constraints = REQUEST | {
    "details": Constraint((False,), "parameters.details"),
    "handle_impossible_answer": Constraint((False,)),
    "max_answer_len": Constraint((), "max_new_tokens"),
    "word_boxes": Constraint(),
    "clean_up_tokenization_spaces": Constraint(),
    "logprobs": Constraint((False,), "details"),
}
"""Of Hugging Face's `parameters`."""
WRAPPED: Constraints = {
    **contents("input"),
    **REQUEST,
    **{
        name: Constraint((), f"parameters.{name if parameter == 'format' else parameter}")
        for name, parameter in SPELLINGS.items()
    },
    **dict.fromkeys(("logprobs", "chat_template_kwargs", "raw"), Constraint((), "parameters")),
}
"""Of a body whose `parameters` stand in an object of their own."""
MESSAGE: Constraints = contents("content") | {
    "function_call": Constraint((), "tool_calls"),
    "audio": Constraint(),
}
PART: Constraints = _SIZES | {"path": Constraint((), "image_url")}
FRAME: Constraints = _SIZES | {"do_sample_frames": Constraint((True,))}
TOOL: Constraints = {
    "defer_loading": Constraint((False,)),
    "allowed_callers": Constraint((["direct"],)),
    "output_schema": Constraint(),
    **dict.fromkeys(("async", "async_"), Constraint((False,))),
}
CALL: Constraints = {
    "caller": Constraint(({"type": "direct"},)),
    "namespace": Constraint(),
    **dict.fromkeys(("async", "async_"), Constraint((False,))),
}
STRUCTURED: Constraints = {
    "structural_tag": Constraint((), "grammar"),
    "whitespace_pattern": Constraint(),
    "disable_any_whitespace": Constraint((False,)),
    "disable_additional_properties": Constraint((False,)),
}


def spelled(known: frozenset[str]) -> Constraints:
    """Parameters that other bodies spell otherwise: none of them is a hint here."""
    own = {SPELLINGS[name]: name for name in known if name in SPELLINGS}
    return {
        name: Constraint((_IDLE[of],) if of in _IDLE else (), own.get(of))
        for name, of in SPELLINGS.items()
        if name not in known
    }


Noted = list[tuple[dict[str, Any], list[str]]]
"""Objects of a body with the names of the fields in them that were ignored."""
_ignored: ContextVar[list[str] | None] = ContextVar("ignored fields", default=None)


@contextlib.contextmanager
def ignored_fields() -> Iterator[list[str]]:
    """Collects the paths of the fields that bodies read inside have and are ignored."""
    paths: list[str] = []
    token = _ignored.set(paths)
    try:
        yield paths
    finally:
        _ignored.reset(token)


def note(body: dict[str, Any], known: frozenset[str], constraints: Constraints, noted: Noted | None) -> None:
    """Raises PydanticCustomError, which has the field's name, for a constraint."""
    names = []
    for name, value in body.items():
        row = constraints.get(name)
        if name in known or value in (None, []) or (row is None and (value == {} or name in HINTS)):
            continue
        if row is None:
            names.append(name)
        elif value not in (*row.harmless, ""):
            context = {"reason": row.reason, "name": name}
            raise PydanticCustomError("unsupported_parameter", "{reason}", context)
    if names and noted is not None:
        noted.append((body, names))


def report(noted: Noted, value: Any, at: str) -> None:
    """Adds the paths of what was noted in `value`, which is at `at`, to those that are collected."""
    collected = _ignored.get()
    if collected is None:
        return
    names = {id(body): found for body, found in noted}
    pending: list[tuple[Any, str]] = [(value, at)]
    while pending and names:
        node, path = pending.pop()
        if isinstance(node, dict):
            begin = f"{path}." if path else ""
            collected += [f"{begin}{name[:80]}" for name in names.pop(id(node), ())]
            pending += [(child, f"{begin}{name[:80]}") for name, child in node.items()]
        elif isinstance(node, list):
            pending += [(child, f"{path}[{number}]") for number, child in enumerate(node)]


def header(paths: Sequence[str]) -> str:
    """The paths with commas between, in the characters that a header may have."""
    text = ",".join(_NOT_SHOWN.sub("?", path) for path in dict.fromkeys(paths))
    return text if len(text) <= LONGEST_LIST else f"{text[: LONGEST_LIST - 3]}..."
