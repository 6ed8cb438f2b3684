"""GET /v1/jobs/{id}/request: what a job asked, written as POST /v1/jobs takes it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.calls import ToolCall
from api.dialects.native.jobs import known
from shared.job import JobRequest, Priority
from shared.media.picture_headers import PictureFormat
from shared.media.pictures import PictureInfo
from shared.request import Document, Function, Image, Message, Parameters, Part, Request, Role, Text, Tools


@dataclass(frozen=True)
class StoredPicture:
    """The picture at a place of a request, in reading order."""

    place: int
    size: int
    info: PictureInfo


class RequestPart(TypedDict):
    """`n` is the place of a picture among the job's; its `url` is there until it was fetched."""

    type: Literal["text", "image", "audio", "document", "video"]
    text: NotRequired[str]
    n: NotRequired[int]
    url: NotRequired[str]
    pages: NotRequired[str]


class RequestMessage(TypedDict):
    role: Role
    content: str | list[RequestPart]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]


class RequestFunction(TypedDict):
    name: str
    description: NotRequired[str]
    parameters: dict[str, Any]
    strict: NotRequired[bool]


class RequestTool(TypedDict):
    type: Literal["function"]
    function: RequestFunction


class RequestPicture(TypedDict):
    """A picture that is kept: its place, bytes, and pixels as stored."""

    n: int
    bytes: int
    width: int
    height: int
    format: PictureFormat


class RequestView(TypedDict):
    """What a job asked. Only what was sent stands in `parameters`."""

    object: Literal["job.request"]
    id: str
    model: str
    messages: list[RequestMessage]
    parameters: dict[str, Any]
    priority: Priority
    metadata: dict[str, str]
    pictures: list[RequestPicture]
    tools: NotRequired[list[RequestTool]]
    tool_choice: NotRequired[Annotated[Any, Field(description="Where a function has to be called.")]]
    parallel_tool_calls: NotRequired[bool]
    continue_final_message: NotRequired[bool]


def to_request_view(
    id: str, stored: JobRequest, request: Request, pictures: Sequence[StoredPicture]
) -> RequestView:
    """`request` is the one that is `stored`."""
    places = count()
    answer: RequestView = {
        "object": "job.request",
        "id": id,
        "model": request.model,
        "messages": [_message(message, places) for message in request.messages],
        "parameters": _parameters(request.parameters),
        "priority": stored.priority,
        "metadata": stored.metadata,
        "pictures": [_picture(picture) for picture in pictures],
    }
    tools = _tools(request.tools) if request.tools else {}
    return cast(
        RequestView, answer | tools | known({"continue_final_message": request.continue_final or None})
    )


def _message(message: Message, places: "count[int]") -> RequestMessage:
    match message.parts:
        case (Text(text=text),):
            content: str | list[RequestPart] = text
        case parts:
            content = [_part(part, places) for part in parts]
    calls: list[ToolCall] = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.calls
    ]
    optional = known({"tool_calls": calls or None, "tool_call_id": message.answers})
    return cast(RequestMessage, {"role": message.role, "content": content} | optional)


def _part(part: Part, places: "count[int]") -> RequestPart:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        return cast(RequestPart, {"type": "image", "n": next(places)} | known({"url": part.url}))
    if isinstance(part, Document):
        return cast(RequestPart, {"type": "document"} | known({"url": part.url, "pages": part.pages}))
    return {"type": part.type}


def _parameters(parameters: Parameters) -> dict[str, Any]:
    values = parameters.model_dump(exclude_defaults=True)
    if "logprobs" in values:
        values |= {"logprobs": True, "top_logprobs": values["logprobs"]}
    if parameters.logit_bias:
        values["logit_bias"] = {str(token): bias for token, bias in parameters.logit_bias}
    if parameters.chat_template_kwargs:
        values["chat_template_kwargs"] = dict(parameters.chat_template_kwargs)
    if form := parameters.format:
        del values["format"]
        values["structured_outputs"] = {
            form.kind: form.content if form.kind in ("regex", "grammar") else json.loads(form.content)
        }
    return values


def _tools(tools: Tools) -> dict[str, Any]:
    choice: Any = "required" if tools.required else None
    if tools.named is not None:
        choice = {"type": "function", "function": {"name": tools.named}}
    functions = [{"type": "function", "function": _function(f, tools)} for f in tools.functions]
    optional = {"tool_choice": choice, "parallel_tool_calls": None if tools.parallel else False}
    return {"tools": functions} | known(optional)


def _function(function: Function, tools: Tools) -> dict[str, Any]:
    strict = function.strict_schema is not None and not tools.required
    return {"name": function.name, "parameters": json.loads(function.parameters)} | known(
        {"description": function.description, "strict": strict or None}
    )


def _picture(picture: StoredPicture) -> RequestPicture:
    info = picture.info
    return {
        "n": picture.place,
        "bytes": picture.size,
        "width": info.width,
        "height": info.height,
        "format": info.format,
    }
