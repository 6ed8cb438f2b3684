"""Which path means what: a model's id and what follows it, slashes, methods, and the model a caller means."""

import json
from typing import Any

import pytest

from tests.support.app import application, client_of, serving
from tests.support.asgi_exchange import Exchange
from tests.support.fake_service import FakeService, answering, failing

FIRST = "job_00000000000000000000000000000001"
TINY = "/models/sightline/tiny"
CHAT = {"messages": [{"role": "user", "content": "What is this?"}]}
INPUTS = {"inputs": "What is this?"}


OTHER = "/models/org/other"


@pytest.mark.parametrize(
    ("path", "body", "member"),
    [
        ("/v1/chat/completions", CHAT | {"model": "org/other:hf-inference"}, "choices"),
        *((f"{prefix}{OTHER}/v1/chat/completions", CHAT, "choices") for prefix in ("", "/hf-inference")),
        *((f"{prefix}{OTHER}", INPUTS, "generated_text") for prefix in ("", "/hf-inference")),
        (f"{OTHER}/v1", INPUTS, "generated_text"),
    ],
)
async def test_a_model_is_found_by_name_and_own_url(path: str, body: dict[str, Any], member: str) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        response = await client.post(path, json=body)

    assert (response.status_code, member in response.text) == (200, True)
    assert [request.model for request, _ in service.asked] == ["org/other"]


async def test_groqs_client_finds_its_paths_and_its_errors() -> None:
    async with serving(answering("A cat.")) as client:
        chat = await client.post("/openai/v1/chat/completions", json=CHAT | {"model": "org/other"})
        models = await client.get("/openai/v1/models")
        refused = await client.post("/openai/v1/chat/completions", json={**CHAT, "best_of": 3})
        nowhere = await client.post("/openai/v1/embeddings", json={})
        schema = await client.get("/openapi.json")

    assert chat.json()["choices"][0]["message"]["content"] == "A cat."
    assert models.json()["object"] == "list"
    assert [r.json()["error"]["code"] for r in (refused, nowhere)] == ["unsupported_parameter", "not_found"]
    assert "/openai" not in schema.text


@pytest.mark.parametrize("name", [None, "dummy", "tgi", "http://here/models/org/other", "org/other:novita"])
async def test_a_body_may_leave_the_model_to_the_path(name: str | None) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        response = await client.post("/models/org/other/v1/chat/completions", json={**CHAT, "model": name})

    assert (response.status_code, response.json()["model"]) == (200, "org/other")


@pytest.mark.parametrize("name", ["sightline/tiny", "sightline/tiny:novita", "nobody/none"])
async def test_a_body_that_names_another_model_than_the_path_is_never_answered_by_either(name: str) -> None:
    service = answering("A cat.")
    async with serving(service) as client:
        response = await client.post("/models/org/other/v1/chat/completions", json={**CHAT, "model": name})

    assert (response.status_code, response.json()["error_type"]) == (400, "invalid_request")
    assert "`model` names another model than the path" in response.json()["error"]
    assert service.asked == []


async def test_the_model_of_the_path_must_exist_whatever_the_body_names() -> None:
    async with serving(answering("A cat.")) as client:
        response = await client.post(
            "/models/nobody/none/v1/chat/completions", json={**CHAT, "model": "sightline/tiny"}
        )

    assert (response.status_code, response.json()["error_type"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", f"{TINY}/info", 405, "GET, HEAD"),
        ("GET", f"{TINY}/v1", 405, "POST"),
        ("GET", f"{TINY}/v1/chat/completions", 405, "POST"),
        ("PUT", f"/hf-inference{TINY}/health", 405, "GET, HEAD"),
        ("DELETE", TINY, 405, "GET, HEAD, POST"),
        ("GET", f"{TINY}/v1/embeddings", 404, None),
        ("POST", f"{TINY}/v1/embeddings", 404, None),
    ],
)
async def test_what_follows_a_model_is_not_its_id(
    method: str, path: str, status: int, allow: str | None
) -> None:
    async with serving(FakeService()) as client:
        response = await client.request(method, path)

    kind = "not_found" if allow is None else "method_not_allowed"
    assert (response.status_code, response.json()["error_type"]) == (status, kind)
    assert response.headers.get("allow") == allow


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/chat/completions/", {**CHAT, "model": "org/other"}),
        ("POST", "/models/org/other/", INPUTS),
        ("POST", "/models/org/other/v1/", INPUTS),
        ("POST", "/v1/jobs/", {**CHAT, "model": "org/other"}),
        ("GET", "/v1/models/", None),
        ("GET", "/v1/models/org/other/", None),
        ("GET", "/health/", None),
    ],
)
async def test_a_slash_at_the_end_means_nothing(method: str, path: str, body: Any) -> None:
    async with serving(answering("A cat.")) as client:
        response = await client.request(method, path, json=body)

    assert response.status_code in (200, 202)


@pytest.mark.parametrize(
    "path", ["/ready", "/v1/models", f"/v1/jobs/{FIRST}", TINY, "/models/nobody/none", "/openapi.json"]
)
async def test_a_head_request_gets_the_headers_of_its_get(path: str) -> None:
    service = FakeService()
    async with application(service) as app, client_of(app) as client:
        await client.post("/v1/jobs", json={**CHAT, "model": "sightline/tiny"})
        whole = await client.get(path, headers={"x-request-id": "r1"})
        head = await client.head(path, headers={"x-request-id": "r1"})

    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert dict(head.headers) == dict(whole.headers)


async def test_a_proxy_of_http_1_0_hears_of_a_stream_while_it_is_made() -> None:
    """And of its failure as all others do: nothing is held back for it until it gives up."""
    body = json.dumps({**INPUTS, "stream": True}).encode()
    async with application(failing("A ")) as app:
        calls = [Exchange(app, "POST", TINY, chunks=(body,), http_version=v).start() for v in ("1.0", "1.1")]
        for call in calls:
            await call.finish()

    old, new = calls
    assert (old.status, old.body, "content-length" in old.headers) == (200, new.body, False)
