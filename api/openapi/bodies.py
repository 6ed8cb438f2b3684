"""Schemas of the bodies that handlers read by hand, with the limits that are checked after reading."""

import json
from typing import Any

from pydantic import TypeAdapter

from api.dialects.calls import MOST_ID, CallBody
from api.dialects.fields import MAX_BYTES, MAX_KEY, MAX_PAIRS, MAX_VALUE
from api.dialects.hf.task_requests import Generation, HfBody, HfInputs, HfParameters
from api.dialects.messages import WireMessage, WirePart
from api.dialects.native.admin import KeyBody, ModelBody, RotationBody
from api.dialects.native.jobs import JobBody
from api.dialects.native.webhooks import EndpointBody, EndpointChange
from api.dialects.openai.batches import BatchBody, LineBody
from api.dialects.openai.chat import ChatBody
from api.dialects.openai.completions import CompletionBody
from api.dialects.openai.files import ANCHOR, LEAST_LIFE_S, LONGEST_LIFE_S, SECONDS, UPLOADED
from api.dialects.openai.response_items import OutputText, WireCall, WireItem, WireOutput, WireReasoning
from api.dialects.openai.responses import CacheOptions, Reasoning, Reference, ResponseBody, TextConfig
from api.dialects.sampling import MAX_STOP_LENGTH, MAX_STOPS, SPELLINGS
from api.dialects.strict_json import Wire, harmless
from api.dialects.tools import CHOICES, ChoiceBody, FlatChoice, FlatTool, ToolBody
from api.openapi.responses import REF
from shared.request import MAX_BIASES, MOST_FUNCTIONS, MOST_PROMPTS, Parameters
from shared.tool_calls.call import NAME
from shared.variables import MOST_VARIABLES, RENDERED, VARIABLE_NAME, Variable

BODIES: tuple[type[Wire], ...] = (
    ModelBody,
    JobBody,
    ChatBody,
    CompletionBody,
    ResponseBody,
    TextConfig,
    Reasoning,
    CacheOptions,
    WireItem,
    OutputText,
    HfBody,
    HfParameters,
    HfInputs,
    Generation,
    WireMessage,
    WirePart,
    CallBody,
    WireCall,
    WireOutput,
    WireReasoning,
    Reference,
    ToolBody,
    ChoiceBody,
    FlatTool,
    FlatChoice,
    KeyBody,
    RotationBody,
    EndpointBody,
    EndpointChange,
    BatchBody,
    LineBody,
)
Schema = dict[str, Any]

UPLOAD: Schema = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": list(UPLOADED)},
                    ANCHOR: {"type": "string", "const": "created_at"},
                    SECONDS: {
                        "type": "integer",
                        "minimum": LEAST_LIFE_S,
                        "maximum": LONGEST_LIFE_S,
                    },
                },
            }
        }
    },
}
"""The body of an upload, the only form."""

_NULL: Schema = {"type": "null"}
_STOP: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH}
_STOPS: Schema = {"type": "array", "items": _STOP, "maxItems": MAX_STOPS}
_BIASES: Schema = {
    "type": "object",
    "maxProperties": MAX_BIASES,
    "propertyNames": {"pattern": "^(0|[1-9][0-9]*)$"},
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
}
_VALUES: list[Schema] = TypeAdapter(Variable).json_schema()["anyOf"]
_VARIABLES: Schema = {
    "type": "object",
    "description": "Variables of the model's chat template.",
    "maxProperties": MOST_VARIABLES,
    "propertyNames": {"pattern": VARIABLE_NAME, "not": {"pattern": RENDERED}},
    "additionalProperties": {"anyOf": [*_VALUES, _NULL]},
}
_METADATA: Schema = {
    "type": "object",
    "description": f"Takes up to {MAX_BYTES} bytes as JSON.",
    "maxProperties": MAX_PAIRS,
    "propertyNames": {"minLength": 1, "maxLength": MAX_KEY},
    "additionalProperties": {"type": "string", "maxLength": MAX_VALUE},
}


def body_schemas() -> dict[str, Schema]:
    """The components by name."""
    schemas: dict[str, Schema] = {}
    for body in BODIES:
        own = body.model_json_schema(ref_template=REF + "{model}")
        schemas |= own.pop("$defs", {}) | {body.__name__: own}
    for schema in schemas.values():
        _limit(schema["properties"])
    of_row = _VARIABLES | {"additionalProperties": {"anyOf": _VALUES}}
    schemas["ModelBody"]["properties"]["chat_template_kwargs"] = of_row
    for body in BODIES:
        _narrow(schemas[body.__name__]["properties"], body)
    _open(schemas)
    return schemas


def _limit(properties: dict[str, Schema]) -> None:
    """Ranges are checked on the canonical parameter, whatever its spelling."""
    limits = Parameters.model_json_schema()["properties"]
    for name in properties.keys() & SPELLINGS.keys():
        if SPELLINGS[name] == "format":
            continue
        if SPELLINGS[name] == "stop":
            single = [] if name == "stop_sequences" else [_STOP]
            properties[name] = {"anyOf": [*single, _STOPS, _NULL]}
        elif name == "logit_bias":
            empty = {"type": "array", "items": {"type": "number"}, "maxItems": 0}
            properties[name] = {"anyOf": [_BIASES, empty, _NULL]}
        elif name == "chat_template_kwargs":
            properties[name] = {"anyOf": [_VARIABLES, _NULL]}
        else:
            properties[name] = {"anyOf": limits[SPELLINGS[name]]["anyOf"]}
        if name == "top_k":
            # -1 also means all tokens.
            properties[name] = {"anyOf": [{"type": "integer", "minimum": -1}, _NULL]}
    if "metadata" in properties:
        properties["metadata"] = {"anyOf": [_METADATA, _NULL]}


def _narrow(properties: dict[str, Schema], body: type[Wire]) -> None:
    """A parameter that is not implemented takes the values that ask for nothing.

    Client generators understand enumerations of texts and constant numbers. Which booleans, lists and objects
    are accepted is only in the description.
    """
    # `async` has a name of its own in Python, which is not described.
    for name, values in ((name, values) for name, values in harmless(body).items() if name in properties):
        shown = ", ".join(f"`{json.dumps(value)}`" for value in (*values, None))
        properties[name] = {
            "anyOf": [*_constants(values), _NULL] if _readable(values) else properties[name]["anyOf"],
            "description": f"Not implemented for any other value than {shown}.",
        }


def _readable(values: tuple[Any, ...]) -> bool:
    return bool(values) and all(type(value) in (str, int, float) for value in values)


def _constants(values: tuple[Any, ...]) -> list[Schema]:
    words = [value for value in values if isinstance(value, str)]
    found: list[Schema] = [
        {"type": "integer" if isinstance(value, int) else "number", "const": value}
        for value in values
        if value not in words
    ]
    return [*found, {"type": "string", "enum": words}] if words else found


def _open(schemas: dict[str, Schema]) -> None:
    """Describe the content of fields that are read in a second step."""
    turns = {"type": "array", "items": _ref("WireMessage"), "minItems": 1}
    parts = {"type": "array", "items": _ref("WirePart")}
    schemas["ChatBody"]["properties"]["messages"] = turns
    job = schemas["JobBody"]
    job["properties"]["messages"] = {"anyOf": [turns, _NULL]}
    job["description"] = "Either `messages` or `input` is sent."
    roles = ["system", "developer", "user", "assistant", "tool"]
    schemas["WireMessage"]["properties"]["role"] = {"type": "string", "enum": roles}
    prompts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_PROMPTS}
    schemas["CompletionBody"]["properties"]["prompt"] = {
        "anyOf": [{"type": "string"}, prompts],
        "description": "The line of a batch has one.",
    }
    schemas["WireMessage"]["properties"]["content"] = {"anyOf": [{"type": "string"}, parts, _NULL]}
    kinds = ("WireItem", "WireCall", "WireOutput", "WireReasoning", "Reference")
    item = {"anyOf": [_ref(kind) for kind in kinds]}
    items = {"type": "array", "items": item, "minItems": 1}
    schemas["ResponseBody"]["properties"]["input"] = {"anyOf": [{"type": "string"}, items]}
    said = {"type": "array", "items": {"anyOf": [_ref("WirePart"), _ref("OutputText")]}}
    schemas["WireItem"]["properties"]["content"] = {"anyOf": [{"type": "string"}, said]}
    schemas["HfBody"]["properties"]["inputs"] = {
        "anyOf": [{"type": "string"}, _ref("HfInputs"), turns, _NULL],
        "description": "Null beside a `question` and its `image`.",
    }
    schemas["HfInputs"]["properties"]["text"] = {"anyOf": [{"type": "string"}, turns, _NULL]}
    for name in ("generate_kwargs", "generation_parameters"):
        schemas["HfParameters"]["properties"][name] = {"anyOf": [_ref("Generation"), _NULL]}
    _open_calls(schemas)


def _open_calls(schemas: dict[str, Schema]) -> None:
    """Describe the functions that a request offers, and calls of them that are sent back."""
    for body, tool, choice in (
        ("ChatBody", "ToolBody", "ChoiceBody"),
        ("JobBody", "ToolBody", "ChoiceBody"),
        ("ResponseBody", "FlatTool", "FlatChoice"),
    ):
        shown = {"type": "array", "items": _ref(tool), "maxItems": MOST_FUNCTIONS}
        schemas[body]["properties"]["tools"] = {"anyOf": [shown, _NULL]}
        named = {"anyOf": [{"type": "string", "enum": list(CHOICES)}, _ref(choice), _NULL]}
        schemas[body]["properties"]["tool_choice"] = named
    for name in ("ToolBody", "ChoiceBody", "FlatTool", "FlatChoice", "CallBody"):
        schemas[name]["properties"]["type"] = {"anyOf": [{"type": "string", "const": "function"}, _NULL]}
    for name in ("FunctionBody", "FlatTool", "CalledBody", "WireCall"):
        schemas[name]["properties"]["name"] = {"type": "string", "pattern": f"^{NAME.pattern}$"}
    called: Schema = {"type": "string", "minLength": 1, "maxLength": MOST_ID}
    schemas["CallBody"]["properties"]["id"] = called
    for name in ("WireCall", "WireOutput"):
        schemas[name]["properties"]["call_id"] = called
    turn = schemas["WireMessage"]["properties"]
    turn["tool_call_id"] = {"anyOf": [called, _NULL]}
    turn["tool_calls"] = {"anyOf": [{"type": "array", "items": _ref("CallBody")}, _NULL]}
    schemas["WireOutput"]["properties"]["output"] = turn["content"]["anyOf"][0]


def _ref(name: str) -> Schema:
    return {"$ref": REF + name}
