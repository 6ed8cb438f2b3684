"""What a client generator reads."""

from typing import Any

from tests.support.app import serving
from tests.support.desk import Desk


async def _schema() -> dict[str, Any]:
    async with serving(Desk()) as client:
        response = await client.get("/openapi.json")
    assert response.status_code == 200
    schema: dict[str, Any] = response.json()
    return schema


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_references(v) for v in value.values()))
    return set().union(*(_references(v) for v in value)) if isinstance(value, list) else set()


async def test_every_reference_of_the_schema_leads_somewhere() -> None:
    schema = await _schema()

    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}
    assert _references(schema) - known == set()


async def test_every_door_is_described_with_its_body_and_errors() -> None:
    schema = await _schema()

    doors = {
        "/v1/jobs": ("JobBody", "Problem"),
        "/v1/chat/completions": ("ChatBody", "OpenAIError"),
        "/v1/completions": ("CompletionBody", "OpenAIError"),
        "/models/{id}": ("HfBody", "HuggingFaceError"),
        "/models/{id}/v1/chat/completions": ("ChatBody", "HuggingFaceError"),
        "/": ("HfBody", "HuggingFaceError"),
    }
    for path, (body, error) in doors.items():
        operation = schema["paths"][path]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{body}"}
        assert content["example"]
        (fault,) = operation["responses"]["default"]["content"].values()
        assert fault["schema"] == {"$ref": f"#/components/schemas/{error}"}
        assert "422" not in operation["responses"]


async def test_the_examples_are_accepted() -> None:
    schema = await _schema()

    desk = Desk()
    desk.script = lambda job: desk.succeed(job, "A cat.")
    async with serving(desk) as client:
        for path in ("/v1/jobs", "/v1/chat/completions", "/v1/completions", "/models/{id}"):
            content = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            body = content["example"] | ({} if "{id}" in path else {"model": "sightline/tiny"})
            response = await client.post(path.replace("{id}", "sightline/tiny"), json=body)
            assert response.status_code in (200, 202), response.text


async def test_the_parameters_read_by_hand_are_described() -> None:
    schema = await _schema()

    def named(path: str, method: str) -> set[str]:
        return {p["name"] for p in schema["paths"][path][method].get("parameters", [])}

    assert named("/v1/jobs", "post") == {"Prefer", "Idempotency-Key", "x-use-cache"}
    assert named("/v1/jobs", "get") == {"limit", "after", "status", "model"}
    assert named("/v1/jobs/{id}", "get") == {"id", "wait"}
    assert named("/v1/jobs/{id}/events", "get") == {"id", "Last-Event-ID", "after"}
    assert named("/models/{id}", "post") == {
        "id",
        "Prefer",
        "Idempotency-Key",
        "x-use-cache",
        "x-wait-for-model",
    }
