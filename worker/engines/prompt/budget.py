"""How many tokens an answer may have."""

from shared.errors import CallerError
from shared.request import Parameters
from shared.request_length import takes


def too_long(context_length: int, why: str) -> CallerError:
    """A prompt that leaves no room for an answer."""
    message = f"{takes(context_length)}, answer included. The prompt is too long: {why}"
    return CallerError("context_length_exceeded", message, param="messages")


def fitting(pictures: int, tokens: int, room: int) -> str:
    """How many of a prompt's pictures fit into a `room` of tokens, of which they have so many together.

    "" of one picture, or where their tokens are not known.
    """
    if pictures < 2 or not tokens:
        return ""
    most = max(0, min(pictures - 1, room * pictures // tokens))
    return f" About {most} of its {pictures} pictures (a document's pages are pictures) fit."


def answer_budget(
    parameters: Parameters,
    *,
    default: int,
    prompt_tokens: int,
    context_length: int,
    pictures: int = 0,
    picture_tokens: int = 0,
) -> int:
    """The most tokens that the answer may have after the prompt.

    The caller's limit or the default, cut to what the context has left; nobody gets fewer than
    `min_new_tokens`. Raises CallerError `context_length_exceeded`.
    """
    remaining = context_length - prompt_tokens
    if remaining < 1:
        room = context_length - prompt_tokens + picture_tokens - 1
        fit = fitting(pictures, picture_tokens, room)
        raise too_long(context_length, f"it has {prompt_tokens}. Shorten it or send fewer pictures.{fit}")
    least = parameters.min_new_tokens or 0
    if least > remaining:
        both = f"the prompt has {prompt_tokens} and the answer has at least {least}"
        advice = "The prompt is too long for that: shorten it or ask for less."
        fit = fitting(pictures, picture_tokens, remaining + picture_tokens - least)
        message = f"{takes(context_length)}; {both}, together {prompt_tokens + least}. {advice}{fit}"
        raise CallerError("context_length_exceeded", message, param="min_new_tokens")
    return max(min(remaining, parameters.max_new_tokens or default), least)
