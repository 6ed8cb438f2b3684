"""Numbers calls by their place in the conversation: the ids that callers gave them change no answer."""

from collections.abc import Sequence

from shared.errors import CallerError
from shared.request import Message


def numbers(messages: Sequence[Message]) -> list[tuple[int, ...]]:
    """For each message the numbers (0, 1, 2 …) of its calls, or of the call that it answers.

    Of two calls with one id the later is meant. Raises CallerError `invalid_request` for an answer to no
    call.
    """
    known: dict[str, int] = {}
    found: list[tuple[int, ...]] = []
    count = 0
    for message in messages:
        if message.role == "tool":
            found.append((_answered(message, known),))
            continue
        own = tuple(range(count, count + len(message.calls)))
        known |= {call.id: number for call, number in zip(message.calls, own, strict=True)}
        count += len(own)
        found.append(own)
    return found


def _answered(message: Message, known: dict[str, int]) -> int:
    number = known.get(message.answers or "")
    if number is None:
        at = message.param or "messages"
        raise CallerError("invalid_request", f"`{at}` names no call of an earlier message.", param=at)
    return number
