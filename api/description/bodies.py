"""The bodies that handlers read by hand: their wire models, and the limits that are checked later."""

from collections.abc import Mapping
from typing import Any

from api.description.responses import REF
from api.dialects import hf, native, openai_chat, openai_completions
from api.dialects.hf import Generation, HfBody, HfInputs
from api.dialects.keys import KeyBody, RotationBody
from api.dialects.messages import WireMessage, WirePart
from api.dialects.metadata import MAX_KEY, MAX_PAIRS, MAX_VALUE
from api.dialects.native import JobBody
from api.dialects.openai_chat import ChatBody
from api.dialects.openai_completions import CompletionBody
from api.dialects.sampling import MAX_STOP_LENGTH, MAX_STOPS, SPELLINGS
from api.strict_json import Wire
from shared.request import MAX_BIASES, Parameters

BODIES: tuple[type[Wire], ...] = (
    JobBody,
    ChatBody,
    CompletionBody,
    HfBody,
    HfInputs,
    Generation,
    WireMessage,
    WirePart,
    KeyBody,
    RotationBody,
)
Schema = dict[str, Any]

_NULL: Schema = {"type": "null"}
_STOP: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH}
_STOPS: Schema = {"type": "array", "items": _STOP, "maxItems": MAX_STOPS}
_BIASES: Schema = {
    "type": "object",
    "maxProperties": MAX_BIASES,
    "propertyNames": {"pattern": "^(0|[1-9][0-9]*)$"},
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
}
_METADATA: Schema = {
    "type": "object",
    "maxProperties": MAX_PAIRS,
    "propertyNames": {"minLength": 1, "maxLength": MAX_KEY},
    "additionalProperties": {"type": "string", "maxLength": MAX_VALUE},
}
_HF_PARAMETERS = hf.HARMLESS | hf.HARMLESS_TO_DOCUMENTS
_REFUSED: dict[str, Mapping[str, tuple[Any, ...]]] = {
    "JobBody": native.HARMLESS,
    "ChatBody": openai_chat.HARMLESS,
    "CompletionBody": openai_completions.HARMLESS,
    "HfParameters": _HF_PARAMETERS,
    "Generation": hf.HARMLESS,
}


def body_schemas() -> dict[str, Schema]:
    """The components by name."""
    schemas: dict[str, Schema] = {}
    for body in BODIES:
        own = body.model_json_schema(ref_template=REF + "{model}")
        schemas |= own.pop("$defs", {}) | {body.__name__: own}
    for name, schema in schemas.items():
        _limit(schema["properties"])
        _narrow(schema["properties"], _REFUSED.get(name, {}))
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
            properties[name] = {"anyOf": [_BIASES, {"type": "array", "maxItems": 0}, _NULL]}
        else:
            properties[name] = {"anyOf": limits[SPELLINGS[name]]["anyOf"]}
    if "metadata" in properties:
        properties["metadata"] = {"anyOf": [_METADATA, _NULL]}


def _narrow(properties: dict[str, Schema], harmless: Mapping[str, tuple[Any, ...]]) -> None:
    """A parameter that is not implemented takes the values that ask for nothing."""
    for name, values in harmless.items():
        properties[name] = {"enum": [*values, None], "description": "Not implemented for any other value."}


def _open(schemas: dict[str, Schema]) -> None:
    """Say what is inside the fields that are read in a second step."""
    turns = {"type": "array", "items": _ref("WireMessage"), "minItems": 1}
    parts = {"type": "array", "items": _ref("WirePart"), "minItems": 1}
    schemas["ChatBody"]["properties"]["messages"] = turns
    job = schemas["JobBody"]
    job["properties"]["messages"] = {"anyOf": [turns, _NULL]}
    job["oneOf"] = [
        {"required": ["messages"], "properties": {"messages": turns, "input": _NULL}},
        {"required": ["input"], "properties": {"input": _ref("JobInput"), "messages": _NULL}},
    ]
    roles = ["system", "developer", "user", "assistant"]
    schemas["WireMessage"]["properties"]["role"] = {"type": "string", "enum": roles}
    single = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}
    schemas["CompletionBody"]["properties"]["prompt"] = {"anyOf": [{"type": "string"}, single]}
    schemas["WireMessage"]["properties"]["content"] = {"anyOf": [{"type": "string"}, parts, _NULL]}
    schemas["HfBody"]["properties"]["inputs"] = {"anyOf": [{"type": "string"}, _ref("HfInputs"), turns]}
    schemas["HfInputs"]["properties"]["text"] = {"anyOf": [{"type": "string"}, turns, _NULL]}
    for name in ("generate_kwargs", "generation_parameters"):
        schemas["HfParameters"]["properties"][name] = {"anyOf": [_ref("Generation"), _NULL]}


def _ref(name: str) -> Schema:
    return {"$ref": REF + name}
