"""Parameters of vLLM's and SGLang's chats and completions that are known by name but not implemented, each
with the values that ask for nothing: their defaults. Other values are refused.
"""

from typing import Any

from api.dialects.strict_json import Wire

HARMLESS: dict[str, tuple[Any, ...]] = {
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template_kwargs": ({},),
    "echo": (False,),
    "include_reasoning": (True,),
    "include_stop_str_in_output": (False,),
    "kv_transfer_params": (),
    "length_penalty": (1.0,),
    "logits_processors": ([],),
    "media_io_kwargs": ({},),
    "mm_processor_kwargs": ({},),
    "no_stop_trim": (False,),
    "priority": (0,),
    "prompt_logprobs": (),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "separate_reasoning": (True,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
}


class VllmNames(Wire):
    """The fields of a body that holds them."""

    bad_words: list[str] | None = None
    best_of: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    echo: bool | None = None
    include_reasoning: bool | None = None
    include_stop_str_in_output: bool | None = None
    kv_transfer_params: dict[str, Any] | None = None
    length_penalty: float | None = None
    logits_processors: list[Any] | None = None
    media_io_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    no_stop_trim: bool | None = None
    priority: int | None = None
    prompt_logprobs: int | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    separate_reasoning: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    use_beam_search: bool | None = None
    vllm_xargs: dict[str, Any] | None = None
    add_special_tokens: bool | None = None
