"""The published description, and holding what is sent and answered against it."""

import json
from typing import Any

from jsonschema import Draft202012Validator

from api.app import create_app
from shared.settings import Settings

SCHEMA: dict[str, Any] = create_app(Settings()).openapi()
JSON, SSE = "application/json", "text/event-stream"


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(m, path, operation) for path, found in SCHEMA["paths"].items() for m, operation in found.items()]


def closed(value: Any) -> Any:
    """The schema with every object's fields taken for all there are, so that one not described is found."""
    if isinstance(value, dict):
        own = {k: closed(v) for k, v in value.items()}
        return {"additionalProperties": False, **own} if "properties" in own else own
    return [closed(v) for v in value] if isinstance(value, list) else value


# What a reference may lead to: a validator walks through all that it is given.
NAMED = {"schemas": SCHEMA["components"]["schemas"]}
CLOSED = closed(NAMED)


def check(schema: dict[str, Any], value: Any) -> None:
    """The value is of the schema, down to its last field."""
    whole = {**closed(schema), "components": CLOSED}
    Draft202012Validator(whole).validate(json.loads(json.dumps(value)))


def accepts(schema: dict[str, Any], value: Any) -> bool:
    return bool(Draft202012Validator({**schema, "components": NAMED}).is_valid(value))


def item_of(event: dict[str, Any]) -> dict[str, Any]:
    """What the data of an event holds."""
    written = event["properties"]["data"]
    found: dict[str, Any] = written.get("contentSchema") or written["anyOf"][1]["contentSchema"]
    return found


def shape(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
