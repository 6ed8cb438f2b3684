"""Items of a response's input: reads them as callers send them, and writes them as they are listed.

A message of an earlier answer comes back with all the fields that the answer had.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AliasChoices, Field

from api.dialects.calls import check_id, to_call, to_turn_call, told
from api.dialects.fields import to_page
from api.dialects.messages import asked, to_part, to_parts
from api.dialects.openai.response_object import Kept, Outline, message_id
from api.dialects.strict_json import Harmless, Replayed, invalid, read, refuse_unsupported, unsupported_kind
from shared.request import Image, Media, Message, Part, Request, Role, Sound, Text, ToolCall
from shared.result import Result


class WireItem(Replayed):
    """A message; `phase` tells the answers of a model apart that reasons aloud."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Any = None
    type: Literal["message"] | None = None
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class Called(Replayed):
    """What OpenAI's types have beside a call and what it gave: a client that dumps them sends it as null.

    In Python the dump of 3.x calls `async` as its class does.
    """

    caller: Annotated[dict[str, Any] | None, Harmless({"type": "direct"})] = None
    namespace: Annotated[str | None, Harmless()] = None
    async_: Annotated[bool | None, Harmless(False)] = Field(
        default=None, validation_alias=AliasChoices("async", "async_")
    )


class WireCall(Called):
    """A call of an earlier answer; `parsed_arguments` is what OpenAI's helpers made of its arguments."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    parsed_arguments: Any = None
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class WireOutput(Called):
    """What a called function gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: Any
    name: str | None = None
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class WireReasoning(Replayed):
    """What another service's model thought before it answered: taken and not read, as in a chat's message."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class OutputText(Replayed):
    """`parsed` is what OpenAI's helpers made of the text."""

    type: Literal["output_text"]
    text: str
    parsed: Any = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Item(NamedTuple):
    """A turn of the input as it is listed; with `call` it is one call of that turn."""

    id: str
    turn: Message
    call: ToolCall | None = None


def from_input(value: str | list[Any]) -> tuple[Message, ...]:
    """Raises CallerError naming the item."""
    if isinstance(value, str):
        return (Message(role="user", parts=(Text(text=value),)),)
    if not value:
        raise invalid("input", "is empty; send a text or at least one item")
    if all(map(_is_part, value)):
        return (asked(Message(role="user", parts=to_parts(value, "input", "user", _part))),)
    turns = _turns(value)
    if not turns:
        raise invalid("input", "holds nothing but reasoning; send at least one message")
    return (*turns[:-1], asked(turns[-1]))


def _is_part(value: Any) -> bool:
    """A list of nothing but parts is one message, as `transformers serve` reads it."""
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind.startswith("input_")


def conversation(kept: Kept) -> tuple[Message, ...]:
    """The conversation that a response answers, earlier turns included, without its instructions."""
    details = iter(kept.outline.details)
    media = (
        part.model_copy(update={"detail": next(details, "auto")}) if isinstance(part, Image) else part
        for part in kept.question.media
    )
    return kept.question.with_media(tuple(media)).messages[int(kept.outline.instructed) :]


def continued(question: Request, outline: Outline, earlier: Kept, result: Result) -> Request:
    """The request with an earlier conversation and its answer before it, without that one's instructions."""
    own = int(outline.instructed)
    before = (_renamed(turn, "previous_response_id") for turn in conversation(earlier))
    answer = _answered(earlier.view.id, result)
    messages = (*question.messages[:own], *before, answer, *question.messages[own:])
    return question.model_copy(update={"messages": messages})


def numbered(kept: Kept) -> list[Item]:
    """The items of the input under ids of their own, oldest first."""
    own = message_id(kept.view.id)
    items: list[Item] = []
    for number, turn in enumerate(conversation(kept)):
        if turn.parts or not turn.calls:
            items.append(Item(f"{own}_{number}", turn))
        bare = turn.model_copy(update={"parts": ()})
        items += [Item(f"{own}_{number}_{n}", bare, call) for n, call in enumerate(turn.calls)]
    return items


def page(items: list[Item], *, limit: int, after: str | None, ascending: bool) -> tuple[list[Item], bool]:
    """A page, and whether there is more after it. Raises CallerError for an `after` that names no item."""
    ordered = items if ascending else items[::-1]
    if after is not None:
        names = [item.id for item in ordered]
        if after not in names:
            raise invalid("after", "names no item of this response's input")
        ordered = ordered[names.index(after) + 1 :]
    return ordered[:limit], len(ordered) > limit


def to_item_list(items: list[Item], has_more: bool, media: Mapping[str, str]) -> dict[str, Any]:
    """`media` are the pictures and sounds to show, as data: URIs by digest."""
    return to_page([_item(item, media) for item in items], has_more=has_more)


def _turns(values: list[Any]) -> list[Message]:
    """An assistant's calls and its words before and after them become one turn again, as they were made."""
    turns: list[Message] = []
    for number, value in enumerate(values):
        turn = _turn(value, f"input[{number}]")
        if turn is None:
            continue
        turns.append(_joined(turns.pop(), turn) if turns and _one_turn(turns[-1], turn) else turn)
    return turns


def _one_turn(before: Message, turn: Message) -> bool:
    """Whether both belong to one turn: an assistant's words and calls, up to the calls' results."""
    return before.role == turn.role == "assistant" and bool(before.calls or turn.calls)


def _joined(before: Message, turn: Message) -> Message:
    parts = (*before.parts, *turn.parts)
    if before.parts and turn.parts and all(isinstance(part, Text) for part in parts):
        parts = (Text(text="".join(part.text for part in parts if isinstance(part, Text))),)
    return before.model_copy(update={"parts": parts, "calls": (*before.calls, *turn.calls)})


def _turn(value: Any, at: str) -> Message | None:
    """The turn of an item; None for an item that is ignored."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "reasoning":
        read(WireReasoning, value, at)
        return None
    if kind == "function_call":
        said = read(WireCall, value, at)
        refuse_unsupported(said, at)
        id = check_id(said.call_id, f"{at}.call_id")
        return Message(role="assistant", parts=(), calls=(to_call(id, said.name, said.arguments, at),))
    if kind == "function_call_output":
        given, named = read(WireOutput, value, at), f"{at}.call_id"
        refuse_unsupported(given, at)
        parts = to_parts(given.output, f"{at}.output", "tool", _part)
        return Message(role="tool", parts=parts, answers=check_id(given.call_id, named), param=named)
    if isinstance(kind, str) and kind != "message":
        raise unsupported_kind(f"{at}.type", kind)
    item = read(WireItem, value, at)
    role: Role = "system" if item.role == "developer" else item.role
    return Message(role=role, parts=to_parts(item.content, f"{at}.content", role, _part))


def _part(value: Any, at: str) -> Part:
    if isinstance(value, dict) and value.get("type") == "output_text":
        return Text(text=read(OutputText, value, at).text)
    return to_part(value, at)


def _renamed(turn: Message, param: str) -> Message:
    parts = (p.model_copy(update={"param": param}) if isinstance(p, Media) else p for p in turn.parts)
    return turn.model_copy(update={"parts": tuple(parts)})


def _answered(job: str, result: Result) -> Message:
    """What a response said and called, as a turn of the conversation."""
    said = told(result.text, result.syntax)
    calls = tuple(to_turn_call(job, 0, number, called) for number, called in enumerate(said.calls))
    parts = () if said.words is None else (Text(text=said.words),)
    return Message(role="assistant", parts=parts, calls=calls)


def _item(item: Item, media: Mapping[str, str]) -> dict[str, Any]:
    turn, common = item.turn, {"id": item.id, "status": "completed"}
    if item.call is not None:
        call = item.call
        own = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        return {**common, "type": "function_call", **own}
    content = [_told(part, turn.role, media) for part in turn.parts]
    if turn.role == "tool":
        return {**common, "type": "function_call_output", "call_id": turn.answers, "output": content}
    return {**common, "type": "message", "role": turn.role, "content": content}


def _told(piece: Part, role: Role, media: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(piece, Sound):
        head, _, data = media.get(piece.digest or "", "data:audio/wav;base64,").partition(";base64,")
        return {"type": "input_audio", "input_audio": {"data": data, "format": head.rpartition("/")[2]}}
    if isinstance(piece, Image):
        url = media.get(piece.digest or "")
        return {"type": "input_image", "detail": piece.detail, "file_id": None, "image_url": url}
    if role == "assistant":
        return {"type": "output_text", "text": piece.text, "annotations": []}
    return {"type": "input_text", "text": piece.text}
