"""Parameters of vLLM's and SGLang's chats and completions that are known by name but not implemented."""

from typing import Annotated, Any

from api.dialects.harmless import Harmless
from api.dialects.strict_json import Wire


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
