"""Reads the functions that a request offers to the model, as OpenAI's two APIs write them.

In a chat each is {"type": "function", "function": {"name": …, "parameters": …, "strict": …}}, in a response
{"type": "function", "name": …, "parameters": …, "strict": …}. `tool_choice` is auto, none, required, any (the
same), or one of them, which has to be called; `parallel_tool_calls` says whether several may be at once.
"""

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from api.dialects.calls import FunctionName, OnlyFunction, check_function
from api.dialects.formats import to_schema
from api.dialects.json_schema import COMBINING
from api.dialects.strict_json import RequestBody, described_as, invalid, read
from api.dialects.unknown_fields import TOOL
from shared.request import MOST_FUNCTIONS, Function, Tools
from shared.tool_calls.call import NAME

NOTHING = {"type": "object", "properties": {}}
"""The parameters of a function that takes none."""
Choice = Literal["auto", "none", "required", "any"]
"""`any` is Mistral's word for required."""


class FunctionBody(RequestBody):
    name: Annotated[str, described_as(FunctionName)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolBody(RequestBody):
    type: OnlyFunction = None
    function: FunctionBody


class FlatTool(FunctionBody):
    constraints = TOOL
    type: OnlyFunction = None


class Named(RequestBody):
    name: str


class ChoiceBody(RequestBody):
    """Hugging Face's clients leave out the type."""

    type: OnlyFunction = None
    function: Named


class FlatChoice(Named):
    type: OnlyFunction = None


ToolBodies = Annotated[
    list[Any] | None, described_as(Annotated[list[ToolBody], Field(max_length=MOST_FUNCTIONS)] | None)
]
ToolChoice = Annotated[str | dict[str, Any] | None, described_as(Choice | ChoiceBody | None)]
FlatTools = Annotated[
    list[Any] | None, described_as(Annotated[list[FlatTool], Field(max_length=MOST_FUNCTIONS)] | None)
]
FlatToolChoice = Annotated[str | dict[str, Any] | None, described_as(Choice | FlatChoice | None)]


def to_tools(
    tools: list[Any] | None, choice: str | dict[str, Any] | None, parallel: bool | None, *, flat: bool = False
) -> Tools | None:
    """None where no function is offered; `flat` is Responses' form. Raises CallerError naming the field."""
    required, named = _choice(choice, flat)
    if not tools:
        if required:
            raise invalid("tool_choice", "needs `tools` to choose from")
        return None
    if len(tools) > MOST_FUNCTIONS:
        raise invalid("tools", f"holds more than {MOST_FUNCTIONS} functions")
    bodies = [_function(value, f"tools[{i}]", flat) for i, value in enumerate(tools)]
    names = [body.name for body, _ in bodies]
    if named is not None and named not in names:
        raise invalid("tool_choice", "names none of the functions in `tools`")
    for number, (body, at) in enumerate(bodies):
        if body.name in names[:number]:
            raise invalid(f"{at}.name", "names another function already")
    if choice == "none":
        return None
    functions = tuple(
        _to_function(body, at, strict=(required or bool(body.strict)) and named in (None, body.name))
        for body, at in bodies
    )
    return Tools(
        functions=functions,
        required=required,
        named=named,
        parallel=parallel is not False,
    )


def to_unshown(tools: list[Any] | None, choice: str | dict[str, Any] | None) -> tuple[Function, ...] | None:
    """A response's functions, already read by `to_tools`, where a `tool_choice` of none hides them.

    None for any other choice. Their schemas are not checked, since no call is held to them.
    """
    if choice != "none":
        return None
    bodies = [read(FlatTool, value) for value in tools or []]
    return tuple(_to_function(body, None, strict=bool(body.strict)) for body in bodies)


def _choice(value: str | dict[str, Any] | None, flat: bool) -> tuple[bool, str | None]:
    """Whether a function must be called, and which one."""
    if isinstance(value, dict):
        check_function(value, "tool_choice")
        # The AI SDK's provider for Hugging Face writes it as in a chat.
        if flat and "function" not in value:
            return True, read(FlatChoice, value, "tool_choice").name
        return True, read(ChoiceBody, value, "tool_choice").function.name
    if value is not None and value not in get_args(Choice):
        raise invalid("tool_choice", "should be auto, none, required, any or a function")
    return value in ("required", "any"), None


def _function(value: Any, at: str, flat: bool) -> tuple[FunctionBody, str]:
    """A function, and its path in the body."""
    check_function(value, at)
    body: FunctionBody = read(FlatTool, value, at) if flat else read(ToolBody, value, at).function
    at = at if flat else f"{at}.function"
    if not NAME.fullmatch(body.name):
        raise invalid(f"{at}.name", "should be 1 to 64 letters, digits, `_` and `-`")
    return body, at


def _to_function(body: FunctionBody, at: str | None, *, strict: bool) -> Function:
    """Without a path its schema is not checked."""
    parameters = body.parameters or NOTHING
    text = json.dumps(parameters, separators=(",", ":"), ensure_ascii=False)
    schema = text if at is None else _strict_schema(parameters, f"{at}.parameters") if strict else None
    enforced = schema if strict else None
    return Function(name=body.name, description=body.description, parameters=text, strict_schema=enforced)


def _strict_schema(parameters: dict[str, Any], at: str) -> str:
    """Return the schema of an object that arguments must match: an empty one, unless it says otherwise."""
    types = parameters.get("type", "object")
    if "object" not in (types if isinstance(types, list) else [types]):
        raise invalid(f"{at}.type", "should be object, as arguments are")
    own = {} if parameters.keys() & {*COMBINING, "minProperties"} else NOTHING
    return to_schema(own | parameters | {"type": "object", "nullable": False}, at)
