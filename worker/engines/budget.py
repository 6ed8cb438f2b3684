"""How many tokens an answer may have."""

from shared.errors import CallerError
from shared.length import takes
from shared.request import Parameters


def too_long(context_length: int, why: str) -> CallerError:
    """A prompt that leaves no room for an answer."""
    message = f"{takes(context_length)}, answer included. The prompt is too long: {why}"
    return CallerError("context_length_exceeded", message, param="messages")


def answer_budget(parameters: Parameters, *, default: int, prompt_tokens: int, context_length: int) -> int:
    """The longest answer, in tokens, that fits behind the prompt.

    What the caller asked for is kept or refused, never cut; the default is cut to what is left, and gives way
    to a longer least answer. Raises CallerError `context_length_exceeded`.
    """
    left = context_length - prompt_tokens
    if left < 1:
        raise too_long(context_length, f"it has {prompt_tokens}. Shorten it or send fewer pictures.")
    for name in ("max_new_tokens", "min_new_tokens"):
        wanted = getattr(parameters, name)
        if wanted is not None and wanted > left:
            raise CallerError(
                "context_length_exceeded",
                f"{takes(context_length)}; the prompt has {prompt_tokens} and {name} is {wanted}, together "
                f"{prompt_tokens + wanted}. The prompt is too long for that: shorten it or lower {name}.",
                param=name,
            )
    if parameters.max_new_tokens is not None:
        return parameters.max_new_tokens
    return max(min(left, default), parameters.min_new_tokens or 0)
