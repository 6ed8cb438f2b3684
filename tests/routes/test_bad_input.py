"""Bodies that no client should send."""

import threading
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from api.dialects import strict_json
from api.dialects.strict_json import parse
from api.server.body import LARGE
from tests.routes.conftest import Deployment
from tests.support.app import JSON, client_of, serving
from tests.support.fake_service import FakeService, answering
from tests.support.openapi import operations
from tests.support.pictures import picture


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"messages": NaN}', "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[" * 10_000, "invalid_json"),
        (b"null", "invalid_request"),
        (b"[]", "invalid_request"),
        (b"{}", "invalid_request"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions"])
async def test_bad_input_is_a_named_error_of_the_caller(path: str, body: bytes, code: str) -> None:
    async with serving(FakeService()) as client:
        response = await client.post(path, content=body, headers=JSON)

    answer = response.json()
    assert 400 <= response.status_code < 500
    assert answer.get("error", answer)["code"] == code


def _turn(kind: str, data: bytes) -> list[Any]:
    url = f"data:image/png;base64,{b64encode(data).decode()}"
    return [{"role": "user", "content": [{"type": kind, "image_url": url}]}]


def _input(data: bytes) -> dict[str, str]:
    return {"prompt": "What is this?", "image": b64encode(data).decode()}


OCTETS = "application/octet-stream"
MODEL = {"model": "sightline/tiny"}
Door = tuple[str, Callable[[bytes], dict[str, Any]]]
DOORS: dict[str, Door] = {
    "chat": ("/v1/chat/completions", lambda data: {"json": MODEL | {"messages": _turn("image_url", data)}}),
    "response": ("/v1/responses", lambda data: {"json": MODEL | {"input": _turn("input_image", data)}}),
    "job": ("/v1/jobs", lambda data: {"json": MODEL | {"input": _input(data)}}),
    "picture": (
        "/models/sightline/tiny",
        lambda data: {"content": data, "headers": {"content-type": "image/png"}},
    ),
    "bytes": ("/models/sightline/tiny", lambda data: {"content": data, "headers": {"content-type": OCTETS}}),
    "file": ("/v1/files", lambda data: {"data": {"purpose": "vision"}, "files": {"file": ("a.png", data)}}),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("kept", "words"), [(0, "is empty"), (20, "it is cut short")])
async def test_an_empty_picture_and_a_cut_one_are_told_apart(
    deployment: Deployment, door: str, kept: int, words: str
) -> None:
    path, call = DOORS[door]
    async with client_of(deployment.app) as client:
        reply = await client.post(path, **call(picture("PNG")[:kept]))
    assert reply.status_code == 400
    assert words in reply.text


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (
            b'{"inputs": No input example has been defined for this model task.}',
            "application/json",
            "invalid_json",
        ),
        (b"", "application/json", "invalid_json"),
        (b'{"inputs": 3}', "application/json", "invalid_request"),
        (b"null", None, "invalid_request"),
        (b" nul", None, "invalid_json"),
        (b"What is this?", "text/plain", "invalid_json"),
    ],
)
async def test_bad_input_on_a_models_url_is_json_too(body: bytes, kind: str | None, code: str) -> None:
    headers = {"content-type": kind} if kind else {}
    async with serving(FakeService()) as client:
        response = await client.post("/models/sightline/tiny", content=body, headers=headers)

    assert (response.status_code, response.json()["error_type"]) == (400, code)


@pytest.mark.parametrize("headers", [{}, JSON])
async def test_a_byte_order_mark_is_no_part_of_the_question(headers: dict[str, str]) -> None:
    body = b'\xef\xbb\xbf{"inputs": "What is this?"}'
    async with serving(answering("A cat.")) as client:
        response = await client.post("/models/sightline/tiny", content=body, headers=headers)

    assert (response.status_code, response.json()) == (200, [{"generated_text": "A cat."}])


QUERIES = [
    path
    for method, path, operation in operations()
    if method == "get" and any(said["in"] == "query" for said in operation.get("parameters", ()))
]


async def refused(path: str, **query: Any) -> dict[str, Any]:
    async with serving(FakeService()) as client:
        response = await client.get(path, params=query)
    assert response.status_code == 400
    answer = response.json()
    return dict(answer.get("error", answer))


@pytest.mark.parametrize("path", QUERIES)
async def test_a_list_that_cannot_be_narrowed_so_is_not_told_whole(path: str) -> None:
    error = await refused(path, statsu="failed")
    assert (error["code"], error["param"]) == ("unknown_field", "statsu")
    assert len(QUERIES) > 7


ONCE = [
    (path, said["name"])
    for method, path, operation in operations()
    for said in operation.get("parameters", ())
    if method == "get" and said["in"] == "query" and said["schema"].get("type") != "array"
]


@pytest.mark.parametrize(("path", "name"), ONCE)
async def test_a_list_that_was_to_be_of_two_kinds_is_not_told_of_one(path: str, name: str) -> None:
    error = await refused(path, **{name: ["failed", "succeeded"]})
    assert (error["code"], error["param"]) == ("invalid_request", name)
    assert error.get("message", error.get("detail")) == f"`{name}` is sent twice; send it once."


PICTURE_OF_COMMAS = b"\x89PNG\r\n" + b"," * 30_000
FORMS: dict[str, Any] = {"files": {"file": ("a.png", PICTURE_OF_COMMAS)}, "data": {"inputs": "hi"}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/chat/completions", "/v1/responses", "/models/sightline/tiny", "/"]
)
async def test_who_sends_a_form_is_told_what_to_send_instead(path: str, form: str) -> None:
    """The commonest slip with `requests`; it was told of a wrong number, or of a picture that nobody sent."""
    async with serving(FakeService()) as client:
        response = await client.post(path, **{form: FORMS[form]})

    assert response.status_code == 400
    assert "invalid_json" in response.text
    assert "The body is a form. Send JSON instead" in response.text


LARGE_BODIES = [
    ("PUT", "/v1/admin/keys/key_1/webhook"),
    *(("POST", f"/v1/{path}") for path in ("jobs", "jobs/redeliver", "batches")),
    *(("POST", f"/v1/admin/{path}") for path in ("keys", "keys/key_1/rotate", "models")),
]


@pytest.mark.parametrize(("method", "path"), LARGE_BODIES)
async def test_no_large_body_holds_up_others(method: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def parsed(body: bytes) -> Any:
        threads.append(threading.current_thread().name)
        return parse(body)

    monkeypatch.setattr(strict_json, "parse", parsed)
    async with serving(FakeService()) as client:
        response = await client.request(method, path, content=b"[]" + b" " * LARGE, headers=JSON)

    assert response.status_code == 400
    assert threads
    assert threading.current_thread().name not in threads
