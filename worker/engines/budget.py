"""How many tokens an answer may have."""

from shared.errors import CallerError


def answer_budget(wanted: int | None, *, default: int, prompt_tokens: int, context_length: int) -> int:
    """The longest answer, in tokens, that fits behind the prompt.

    What the caller asked for is kept or refused, never cut; the default is cut to what is left.
    Raises CallerError `context_length_exceeded`.
    """
    left = context_length - prompt_tokens
    if left < 1:
        raise CallerError(
            "context_length_exceeded",
            f"The prompt has {prompt_tokens} tokens; this model takes {context_length} with its answer.",
            param="messages",
        )
    if wanted is not None and wanted > left:
        raise CallerError(
            "context_length_exceeded",
            f"The prompt has {prompt_tokens} tokens and max_new_tokens is {wanted}: together "
            f"{prompt_tokens + wanted}, but this model takes {context_length}.",
            param="max_new_tokens",
        )
    return min(left, default) if wanted is None else wanted
