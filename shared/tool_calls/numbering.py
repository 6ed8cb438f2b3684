"""Numbers calls by their place in the conversation: the ids that callers gave them change no answer."""

from collections.abc import Sequence

from shared.errors import CallerError
from shared.request import Message, Request
from shared.tool_calls.syntax import Known


def numbers(messages: Sequence[Message]) -> list[tuple[int, ...]]:
    """For each message the numbers (0, 1, 2 …) of its calls, or of the call that it answers.

    Of two calls with one id the later is meant. Raises CallerError `invalid_request` for an answer to no
    call.
    """
    by_id: dict[str, int] = {}
    places: list[tuple[int, ...]] = []
    count = 0
    for message in messages:
        if message.role == "tool":
            places.append((_answered(message, by_id),))
            continue
        own = tuple(range(count, count + len(message.calls)))
        by_id |= {call.id: number for call, number in zip(message.calls, own, strict=True)}
        count += len(own)
        places.append(own)
    return places


def _answered(message: Message, by_id: dict[str, int]) -> int:
    number = by_id.get(message.answers or "")
    if number is None:
        at = message.param or "messages"
        raise CallerError("invalid_request", f"`{at}` names no call of an earlier message.", param=at)
    return number


# Whether a model's chat template has a place for the functions of a request.


def check_calls(request: Request, syntaxes: Known | None) -> None:
    """`syntaxes` is the form of the model's calls, "" where it takes no functions, None if not known yet.

    A function that must be called needs no place: the answer is held to the call's form, as to a format.
    Raises CallerError `unsupported_parameter`, and `invalid_request` where a tool's message answers no call.
    """
    numbers(request.messages)
    if syntaxes != "":
        return
    message = (
        f"The model {request.model} takes no functions: its chat template has no place for them, or writes "
        "calls in a form that is not known here. Leave them out, or ask another model."
    )
    if request.tools is not None and not request.tools.required:
        raise CallerError("unsupported_parameter", message, param="tools")
    if any(m.calls or m.role == "tool" for m in request.messages):
        at = request.named.get("messages", "messages")
        raise CallerError("unsupported_parameter", message, param=at)
