"""Numbers calls by their place in the conversation: the ids that callers gave them change no answer."""

from collections.abc import Sequence

from shared.errors import CallerError
from shared.request import Message, Request
from shared.tool_calls.syntax import Known


def numbers(messages: Sequence[Message]) -> list[tuple[int, ...]]:
    """Return for each message the numbers (0, 1, 2 …) of its calls, or of the call that it answers.

    Results answer the last calls in turn where ids are missing or equal. A result of no call has no number.
    """
    by_id: dict[str, int] = {}
    waiting: dict[str, list[int]] = {}
    places: list[tuple[int, ...]] = []
    count = 0
    for message in messages:
        if message.role == "tool":
            answered = _answered(message.answers or "", waiting, by_id)
            places.append(() if answered is None else (answered,))
            continue
        own = tuple(range(count, count + len(message.calls)))
        waiting = {} if own else waiting
        for call, number in zip(message.calls, own, strict=True):
            waiting.setdefault(call.id, []).append(number)
            by_id[call.id] = number
        count += len(own)
        places.append(own)
    return places


def _answered(id: str, waiting: dict[str, list[int]], by_id: dict[str, int]) -> int | None:
    call_id = next((name for name in ((id, "") if id else waiting) if name in waiting), None)
    if call_id is None:
        return by_id.get(id)
    first, *others = waiting.pop(call_id)
    if others:
        waiting[call_id] = others
    return first


def check_calls(request: Request, syntaxes: Known | None) -> None:
    """`syntaxes` is the form of the model's calls, "" where it takes no functions, None if not known yet.

    A function that must be called needs no place: the answer is held to the call's form, as to a format.
    Raises CallerError `unsupported_parameter`.
    """
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
