"""Items of a response's input: reads them as callers send them, and writes them as they are listed.

A message of an earlier answer comes back with all the fields that the answer had.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, cast

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from api.dialects.calls import split_answer, to_call, to_turn_call
from api.dialects.fields import PageAnswer, to_page
from api.dialects.messages import WirePart, to_part, to_parts, with_question
from api.dialects.openai.response_object import ResponseCall, ResponseFields, StoredResponse, message_id
from api.dialects.strict_json import RequestBody, described_as, invalid, read, unsupported_kind
from api.dialects.unknown_fields import CALL
from shared.request import (
    Detail,
    Document,
    Image,
    Media,
    Message,
    Part,
    Request,
    Role,
    Sound,
    Text,
    ToolCall,
    Video,
)
from shared.result import Result


class OutputText(RequestBody):
    type: Literal["output_text"]
    text: str


class WireItem(RequestBody):
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[Any, described_as(str | list[WirePart | OutputText])] = None
    type: Literal["message"] | None = None


class WireCall(RequestBody):
    """A call of an earlier answer."""

    constraints = CALL
    type: Literal["function_call"]
    call_id: str | None = None
    name: str
    arguments: Annotated[Any, described_as(str | None)] = None


class WireOutput(RequestBody):
    """What a called function gave."""

    constraints = CALL
    type: Literal["function_call_output"]
    call_id: str | None = None
    output: Annotated[Any, described_as(str | None)] = None


class WireReasoning(BaseModel):
    """What another service's model thought before it answered: taken and not read, whatever it has."""

    type: Literal["reasoning"]


class Reference(RequestBody):
    """An item of an earlier answer by its id alone: Vercel's AI SDK sends them by default."""

    type: Literal["item_reference"]
    id: str


InputItems = Annotated[
    list[WireItem | WireCall | WireOutput | WireReasoning | Reference], Field(min_length=1)
]


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
        return (with_question(Message(role="user", parts=to_parts(value, "input", "user", _part))),)
    turns = _turns(value)
    if not turns:
        raise invalid("input", "holds nothing but reasoning; send at least one message")
    return (*turns[:-1], with_question(turns[-1]))


def _is_part(value: Any) -> bool:
    """A list of nothing but parts is one message, as `transformers serve` reads it."""
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind.startswith("input_")


def conversation(response: StoredResponse) -> tuple[Message, ...]:
    """The conversation that a response answers, earlier turns included, without its instructions."""
    details = iter(response.fields.details)
    media = (
        part.model_copy(update={"detail": next(details, "auto")}) if isinstance(part, Image) else part
        for part in response.request.media
    )
    return response.request.with_media(tuple(media)).messages[int(response.fields.instructed) :]


def continued(request: Request, fields: ResponseFields, earlier: StoredResponse, result: Result) -> Request:
    """The request with an earlier conversation and its answer before it, without that one's instructions."""
    start = int(fields.instructed)
    before = (_renamed(turn, "previous_response_id") for turn in conversation(earlier))
    answer = _answer_turn(earlier.job.id, result)
    messages = (*request.messages[:start], *before, answer, *request.messages[start:])
    return request.model_copy(update={"messages": messages})


def input_items(response: StoredResponse) -> list[Item]:
    """The items of the input under ids of their own, oldest first."""
    base = message_id(response.job.id)
    items: list[Item] = []
    for number, turn in enumerate(conversation(response)):
        if turn.parts or not turn.calls:
            items.append(Item(f"{base}_{number}", turn))
        bare = turn.model_copy(update={"parts": ()})
        items += [Item(f"{base}_{number}_{n}", bare, call) for n, call in enumerate(turn.calls)]
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


class InputPart(TypedDict):
    """`image_url` is null, or a data: URI where it was asked for."""

    type: Literal["input_text", "input_image", "input_audio", "input_video", "input_file", "output_text"]
    text: NotRequired[str]
    annotations: NotRequired[Annotated[list[Any], Field(description="output_text")]]
    detail: NotRequired[Annotated[Detail, Field(description="input_image")]]
    file_id: NotRequired[Annotated[str | None, Field(description="input_image")]]
    image_url: NotRequired[Annotated[str | None, Field(description="input_image")]]
    input_audio: NotRequired[Annotated[dict[str, str], Field(description="input_audio: empty")]]
    file_url: NotRequired[Annotated[str | None, Field(description="input_file: until it is fetched")]]
    video_url: NotRequired[Annotated[str | None, Field(description="input_video: never repeated")]]


class InputItem(TypedDict):
    id: str
    type: Literal["message"]
    status: Literal["completed"]
    role: Literal["user", "assistant", "system"]
    content: list[InputPart]


class InputOutput(TypedDict):
    """What a called function gave."""

    id: str
    type: Literal["function_call_output"]
    status: Literal["completed"]
    call_id: str
    output: list[InputPart]


ListedItem = InputItem | ResponseCall | InputOutput


class InputItemList(PageAnswer):
    data: list[ListedItem]


def to_item_list(items: list[Item], has_more: bool, media: Mapping[str, str]) -> InputItemList:
    """`media` are the pictures to show, as data: URIs by digest."""
    return {**to_page([_item(item, media) for item in items], has_more=has_more)}


def _turns(values: list[Any]) -> list[Message]:
    """An assistant's calls and its words before and after them become one turn again, as they were made."""
    turns: list[Message] = []
    for number, value in enumerate(values):
        turn = _turn(value, f"input[{number}]")
        if turn is None:
            continue
        before = turns[-1] if turns else turn
        # An assistant's words and calls, up to the calls' results, are one turn.
        one = turns and before.role == turn.role == "assistant" and (before.calls or turn.calls)
        turns.append(_joined(turns.pop(), turn) if one else turn)
    return turns


def _joined(before: Message, turn: Message) -> Message:
    parts = (*before.parts, *turn.parts)
    if before.parts and turn.parts and all(isinstance(part, Text) for part in parts):
        parts = (Text(text="".join(part.text for part in parts if isinstance(part, Text))),)
    return before.model_copy(update={"parts": parts, "calls": (*before.calls, *turn.calls)})


def _turn(value: Any, at: str) -> Message | None:
    """The turn of an item; None for an item that is ignored."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "reasoning":
        return None
    if kind == "function_call":
        call = read(WireCall, value, at)
        earlier = to_call(call.call_id, call.name, call.arguments, at)
        return Message(role="assistant", parts=(), calls=(earlier,))
    if kind == "function_call_output":
        output = read(WireOutput, value, at)
        parts = to_parts("" if output.output is None else output.output, f"{at}.output", "tool", _part)
        return Message(role="tool", parts=parts, answers=output.call_id)
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


def _answer_turn(job: str, result: Result) -> Message:
    """A response's answer as a turn of the conversation."""
    answer = split_answer(result.text, result.syntax)
    calls = tuple(to_turn_call(job, 0, number, called) for number, called in enumerate(answer.calls))
    parts = () if answer.text is None else (Text(text=answer.text),)
    return Message(role="assistant", parts=parts, calls=calls)


def _item(item: Item, media: Mapping[str, str]) -> ListedItem:
    turn, call = item.turn, item.call
    if call is not None:
        own: dict[str, Any] = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        return cast(ResponseCall, _listed(item, "function_call") | own)
    content = [_input_part(part, turn.role, media) for part in turn.parts]
    if turn.role == "tool":
        own = {"call_id": turn.answers or "", "output": content}
        return cast(InputOutput, _listed(item, "function_call_output") | own)
    return cast(InputItem, _listed(item, "message") | {"role": turn.role, "content": content})


def _listed(item: Item, kind: str) -> dict[str, Any]:
    return {"id": item.id, "type": kind, "status": "completed"}


def _input_part(part: Part, role: Role, media: Mapping[str, str]) -> InputPart:
    if isinstance(part, Sound):
        return {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    if isinstance(part, Video):
        return {"type": "input_video", "file_id": None, "video_url": None}
    if isinstance(part, Image):
        url = media.get(part.digest or "")
        return {"type": "input_image", "detail": part.detail, "file_id": None, "image_url": url}
    if isinstance(part, Document):
        return {"type": "input_file", "file_url": part.url}
    if role == "assistant":
        return {"type": "output_text", "text": part.text, "annotations": []}
    return {"type": "input_text", "text": part.text}
