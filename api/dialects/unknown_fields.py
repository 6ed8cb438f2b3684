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
    """A field that is not implemented: `harmless` values ask for nothing, `instead` is the field to send.

    `advice` is for a field that no other replaces.
    """

    harmless: tuple[Any, ...] = ()
    instead: str | None = None
    advice: str = "leave it out"

    @property
    def reason(self) -> str:
        if self.instead is None:
            return f"is not implemented for this value; {self.advice}"
        return f"is not a field of this request; send `{self.instead}` instead"


Constraints = dict[str, Constraint]

GUIDED = {f"guided_{kind}": kind for kind in ("json", "regex", "choice", "grammar")}
GUIDED |= {"regex": "regex", "ebnf": "grammar", "grammar": "grammar", "json_schema": "json"}
"""vLLM's older fields, SGLang's and llama.cpp's, which hold what one of `structured_outputs` does."""
_FORMATS = ("response_format", "structured_outputs", *GUIDED)
SPELLINGS = {
    name: name for name in Parameters.model_fields if name not in ("logprobs", "chat_template_kwargs")
} | {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), "max_new_tokens"),
    **dict.fromkeys(_FORMATS, "format"),
    "min_tokens": "min_new_tokens",
    "random_seed": "seed",
    "num_return_sequences": "n",
    "stop_sequences": "stop",
}
"""The parameter that each field of a body sets."""


def fields(names: str, *harmless: Any, instead: str | None = None) -> Constraints:
    return dict.fromkeys(names.split(), Constraint(harmless, instead))


def contents(instead: str | None = None) -> Constraints:
    """What a question consists of, where it is not read: without that, another one would be answered."""
    nouns = ("image", "picture", "document", "pdf", "file", "audio", "sound", "video", "attachment")
    files = " ".join(f"{noun} {noun}s {noun}_url {noun}_urls" for noun in nouns)
    texts = "messages prompt input question system instructions"
    looks = "pages min_pixels max_pixels background"
    return fields(f"{texts} {files} {looks}", "", True, False, instead=instead)


HINTS = frozenset(
    # Who asks, and what makes an answer faster or tells more of how it was made.
    fields(
        "user safety_identifier uuid client_metadata use_cache cache_control cache_prompt prediction debug"
    )
    | fields("prompt_cache_key prompt_cache_options prompt_cache_retention prompt_cache_breakpoint id_slot")
    | fields("return_progress include_obfuscation return_cached_tokens_details stream_reasoning max_retries")
    | fields("vl_high_resolution_images")
    # What other services and clients keep in a conversation.
    | fields("id index name description title parsed parsed_arguments annotations provider_specific_fields")
    | fields("phase status format media_type mediaType filename role tool_calls logprobs")
    | fields("reasoning reasoning_content reasoning_details")
    # How a grammar is compiled, which every answer obeys in any case.
    | fields("disable_fallback guided_decoding_backend verbosity backend details")
)


_SIZES = fields("resized_height resized_width total_pixels", instead="max_pixels")
REQUEST: Constraints = {
    **_SIZES,
    **fields("use_beam_search include_stop_str_in_output no_stop_trim return_hidden_states watermark", False),
    **fields("return_tokens_as_token_ids decoder_input_details return_full_text", False),
    **fields("num_beams num_beam_groups length_penalty guidance_scale", 1),
    **fields("penalty_alpha diversity_penalty epsilon_cutoff eta_cutoff mirostat top_a", 0),
    **fields("dry_multiplier dynatemp_range xtc_probability", 0),
    **fields("spaces_between_special_tokens separate_reasoning do_sample_frames", True),
    **fields("chat_template documents prompt_embeds tools kv_transfer_params truncate suffix moderation"),
    **fields("thinking_token_budget force_words_ids forced_eos_token_id guided_whitespace_pattern"),
    **fields("truncate_prompt_tokens"),
    # Parameters, and not in the place where they are read.
    **fields("extra_body sampling_params generation_config parameters", {}),
    **fields("best_of", 1, instead="n"),
    **fields("echo", False),
    **fields("raw", False, instead="messages"),
    **fields("tfs_z typical", 1, instead="typical_p"),
    **fields("repeat_penalty rep_pen encoder_repetition_penalty", 1, instead="repetition_penalty"),
    **fields("n_predict num_predict max_tokens_to_sample", -1, instead="max_tokens"),
    **fields("max_length max_time", instead="max_new_tokens"),
    **fields("min_length", 0, instead="min_new_tokens"),
    **fields("bad_words bad_words_ids suppress_tokens allowed_token_ids", instead="logit_bias"),
    **fields("sequence_bias logits_processors", instead="logit_bias"),
    **fields("eos_token_id", instead="stop_token_ids"),
    **fields("stop_strings", instead="stop"),
    **fields("structural_tag", instead="structured_outputs.grammar"),
    **fields("format", instead="response_format"),
    **fields("guided_json_object", False, instead="response_format"),
    **fields("prompt_logprobs", instead="logprobs"),
    **fields("return_token_ids", False, instead="logprobs"),
    **fields("top_n_tokens", 0, instead="top_logprobs"),
    **fields("adapter_id lora_path lora_request", instead="model"),
}
"""What no dialect implements, in vLLM's, SGLang's, transformers', llama.cpp's and Hugging Face's names."""
CHAT: Constraints = {
    **contents("messages"),
    **REQUEST,
    **fields("add_special_tokens safe_prompt", False),
    **fields("audio web_search_options transforms"),
    **fields("modalities", ["text"]),
    **fields("tool_prompt functions", instead="tools"),
    **fields("function_call", "none", "auto", instead="tool_choice"),
}
RESPONSE: Constraints = {
    **contents("input"),
    **REQUEST,
    **fields("raw", False, instead="input"),
    **fields("logprobs", False, instead="top_logprobs"),
    **fields("format", instead="text.format"),
    **fields("conversation", instead="previous_response_id"),
    **fields("context_management access_programs"),
    **fields("image", {}, {"context_compression": "auto"}, {"context_compression": "disabled"}),
    **fields("background_options", {}, {"completion_window": "soonest"}),
}
QUESTION: Constraints = {
    **REQUEST,
    **fields("handle_impossible_answer raw", False),
    **fields("word_boxes clean_up_tokenization_spaces"),
    **fields("max_answer_len", instead="max_new_tokens"),
    **fields("details", False, instead="parameters.details"),
    **fields("logprobs", False, instead="details"),
}
"""Of Hugging Face's `parameters`."""
WRAPPED: Constraints = {
    **contents("input"),
    **REQUEST,
    **{
        name: Constraint((), f"parameters.{name if parameter == 'format' else parameter}")
        for name, parameter in SPELLINGS.items()
    },
    **fields("logprobs chat_template_kwargs", instead="parameters"),
}
"""Of a body whose `parameters` stand in an object of their own."""
JOB: Constraints = {
    **WRAPPED,
    "schedule_at": Constraint(advice="submit the job when it is due, and bound its end by `finish_by`"),
}
MESSAGE: Constraints = contents("content") | fields("function_call", instead="tool_calls")
PART: Constraints = _SIZES | fields("path", instead="image_url")
FRAME: Constraints = _SIZES | fields("do_sample_frames", True)
TOOL: Constraints = {
    **fields("defer_loading async async_", False),
    **fields("allowed_callers", ["direct"]),
    **fields("output_schema"),
}
CALL: Constraints = {
    **fields("caller", {"type": "direct"}),
    **fields("namespace"),
    **fields("async async_", False),
}
STRUCTURED: Constraints = {
    **fields("structural_tag", instead="grammar"),
    **fields("whitespace_pattern"),
    **fields("disable_any_whitespace disable_additional_properties", False),
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


def ignore(path: str) -> None:
    """Add the path of a field to those that are collected, because its value cannot be used."""
    collected = _ignored.get()
    if collected is not None:
        collected.append(path)


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
