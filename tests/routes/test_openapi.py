"""What a client generator reads, and whether it is true."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.dialects.hf.task_requests import from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from api.openapi import examples
from shared.errors import CallerError
from shared.models import Model
from tests.routes.conftest import Deployment
from tests.support.app import client_of, serving
from tests.support.asgi_exchange import data, posted
from tests.support.fake_service import FakeService, answering, failing
from tests.support.golden import DATA
from tests.support.openapi import JSON, SCHEMA, SSE, accepts, check, item_of, operations, shape

HF = "/models/{id}"
CHAT: dict[str, Any] = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}
RESPONSE: dict[str, Any] = {"model": "sightline/tiny", "input": "What is this?", "background": True}
ITEM = {"role": "user", "content": [{"type": "input_text", "text": "What is this?"}]}
READERS: dict[str, Callable[[Any], Any]] = {
    "ChatBody": from_chat,
    "HfBody": lambda body: from_hf(body),
    "JobBody": from_job,
    "ResponseBody": from_response,
}
SYNCHRONOUS = [
    ("/v1/chat/completions", "ChatBody", "OpenAIError"),
    ("/v1/responses", "ResponseBody", "OpenAIError"),
    (HF, "HfBody", "HuggingFaceError"),
    (f"{HF}/v1/chat/completions", "ChatBody", "HuggingFaceError"),
    ("/", "HfBody", "HuggingFaceError"),
]


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(v) for v in value.values()))
    return set().union(*(references(v) for v in value)) if isinstance(value, list) else set()


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    known = {f"#/components/{kind}/{name}" for kind, found in SCHEMA["components"].items() for name in found}
    assert references(SCHEMA) - known == set()


def test_a_generated_client_keeps_its_methods_and_classes() -> None:
    # FastAPI makes both from names in the code: a handler renamed is a client's method renamed.
    operations = [
        operation["operationId"] for path in SCHEMA["paths"].values() for operation in path.values()
    ]
    names = {"operations": sorted(operations), "components": sorted(SCHEMA["components"]["schemas"])}
    assert names == json.loads((DATA / "openapi_names.json").read_text())


def test_code_generators_can_read_every_schema_of_the_description() -> None:
    for found in SCHEMA["components"]["schemas"].values():
        Draft202012Validator.check_schema(found)


async def test_the_description_is_served() -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/openapi.json")

    assert (response.status_code, response.json()) == (200, json.loads(json.dumps(SCHEMA)))


@pytest.mark.parametrize(("path", "body", "error"), [*SYNCHRONOUS, ("/v1/jobs", "JobBody", "Problem")])
def test_every_door_is_described_with_its_body_and_errors(path: str, body: str, error: str) -> None:
    operation = SCHEMA["paths"][path]["post"]
    content = operation["requestBody"]["content"][JSON]

    assert content["schema"] == shape(body)
    assert accepts(content["schema"], content["example"])
    for status in ("400", "404", "408", "413", "422", "429", "503", "default"):
        (fault,) = operation["responses"][status]["content"].values()
        assert fault["schema"] == shape(error)


def test_streams_are_described_as_streams() -> None:
    streams = {
        (m, path): set(operation["responses"]["200"]["content"])
        for m, path, operation in operations()
        if SSE in operation["responses"].get("200", {}).get("content", {})
    }
    expected = {("post", path): {JSON, SSE} for path, _, _ in SYNCHRONOUS}
    expected[("get", "/v1/responses/{id}")] = {JSON, SSE}
    followed = ("/v1/jobs/{id}/events", "/v1/jobs/batch_{id}/events", "/v1/live")
    assert streams == {**expected, **{("get", path): {SSE} for path in followed}}


def test_a_job_is_described_only_where_it_can_be_asked_for() -> None:
    answers = [(path, operation["responses"].get("202")) for m, path, operation in operations()]
    accepting = {path for path, answer in answers if answer and "x-job-id" in answer["headers"]}
    assert accepting == {"/v1/jobs", "/v1/jobs/{id}/retry", "/v1/jobs/{id}/webhook/redeliver", HF, "/"}


def test_every_answer_names_its_headers() -> None:
    for m, path, operation in operations():
        for status, response in operation["responses"].items():
            assert status == "default" or "x-request-id" in response["headers"], (m, path, status)
    jobs = SCHEMA["paths"]["/v1/jobs"]["post"]["responses"]
    assert {"location", "retry-after", "x-job-id", "x-cache"} <= set(jobs["202"]["headers"])
    chat = SCHEMA["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert {"x-job-id", "x-cache", "x-compute-time", "x-queue-time"} <= set(chat["200"]["headers"])
    assert {"retry-after"} <= set(chat["503"]["headers"])


def test_every_example_of_an_answer_is_of_its_schema() -> None:
    checked = 0
    for _, _, operation in operations():
        for response in operation["responses"].values():
            for media, content in response.get("content", {}).items():
                shown = [
                    SCHEMA["components"]["examples"][name]["value"] for name in content.get("examples", ())
                ]
                for value in shown if media != SSE else data(content["example"].encode()):
                    item = content["schema"] if media != SSE else item_of(content["schema"])
                    if value != "[DONE]":
                        check(item, value)
                        checked += 1
    assert checked > 30


def test_every_event_of_a_response_is_of_its_schema() -> None:
    for event in json.loads((DATA / "response_events.json").read_text(encoding="utf-8")):
        check(shape("ResponseEvent"), event)


async def test_real_answers_are_of_their_schemas() -> None:
    asked: list[tuple[str, str, Any]] = [
        ("post", "/v1/jobs", CHAT),
        ("post", "/v1/chat/completions", CHAT),
        ("post", HF, {"inputs": "What is this?", "parameters": {"return_full_text": True}}),
        ("post", HF, {"inputs": {"question": "What?", "image": examples.PICTURE}}),
        *(("post", path, {}) for path in ("/v1/chat/completions", HF, "/v1/jobs")),
        *(("get", path, None) for path, found in SCHEMA["paths"].items() if "get" in found),
    ]
    await _check_answers(answering("A ", "cat."), asked)


async def test_the_answers_of_a_service_in_trouble_are_of_their_schemas() -> None:
    service = failing(code="invalid_image")
    service.states.clear()
    paths = ("/ready", f"{HF}/health", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/jobs")
    posts = [("post", "/v1/jobs", CHAT), ("post", "/v1/chat/completions", CHAT)]
    await _check_answers(service, [*posts, *(("get", path, None) for path in paths)])


async def _check_answers(service: FakeService, asked: list[tuple[str, str, Any]]) -> None:
    async with serving(service) as client:
        for method, path, body in asked:
            name = "job_" + "1".zfill(32) if path.startswith("/v1/jobs") else "sightline/tiny"
            # One that goes on is asked for no time.
            query = "?seconds=0" if path == "/v1/live" else ""
            response = await client.request(method, path.replace("{id}", name) + query, json=body)
            _check_response(method, path, response)


def _check_response(method: str, path: str, response: Any) -> None:
    described = SCHEMA["paths"][path][method]["responses"][str(response.status_code)]
    media = response.headers["content-type"].partition(";")[0]
    content = described["content"][media]
    if media == SSE:
        for value in data(response.content):
            check(item_of(content["schema"]), value)
    else:
        check(content["schema"], response.text if media == "text/plain" else response.json())


@pytest.mark.parametrize("path", [path for path, _, _ in SYNCHRONOUS])
async def test_the_example_of_a_question_is_answered_as_it_is(deployment: Deployment, path: str) -> None:
    deployment.worker.beat()
    example = SCHEMA["paths"][path]["post"]["requestBody"]["content"][JSON]["example"]
    call = posted(deployment.app, example, path.replace("{id}", "sightline/tiny"))
    deployment.worker.succeed(await deployment.worker.taken(), "A red disc.")
    await call.finish()

    assert call.status == 200, call.body


async def test_the_example_of_a_job_is_accepted_as_it_is(deployment: Deployment) -> None:
    example = SCHEMA["paths"]["/v1/jobs"]["post"]["requestBody"]["content"][JSON]["example"]
    async with client_of(deployment.app) as client:
        response = await client.post("/v1/jobs", json=example)

    assert (response.status_code, response.json()["waiting_reason"]) == (202, "no_worker")


def test_the_parameters_read_by_hand_are_described() -> None:
    def named(path: str, method: str) -> dict[str, Any]:
        return {p["name"]: p["schema"] for p in SCHEMA["paths"][path][method].get("parameters", [])}

    assert set(named("/v1/jobs", "post")) == {"Prefer", "Idempotency-Key", "x-use-cache"}
    assert set(named("/v1/estimate", "post")) == {"x-use-cache", "rows"}
    assert set(named("/v1/jobs/{id}", "get")) == {"id", "wait"}
    assert set(named("/v1/jobs/{id}/events", "get")) == {"id", "Last-Event-ID", "after"}
    asking = {"Prefer", "Idempotency-Key", "x-use-cache", "x-wait-for-model"}
    assert set(named(HF, "post")) == {"id", *asking}
    page = named("/v1/jobs", "get")
    filters = {"status", "search", "model", "priority", "created_after", "created_before", "metadata"}
    assert set(page) == {"limit", "after", "results", *filters}
    assert page["limit"] == {"type": "integer", "minimum": 1, "default": 20}
    assert page["status"]["items"]["enum"] == ["queued", "running", "succeeded", "failed", "cancelled"]
    assert named("/v1/jobs/{id}/events", "get")["Last-Event-ID"]["type"] == "integer"


REFUSED: list[tuple[str, Any]] = [
    ("ChatBody", {"messages": []}),
    ("ChatBody", {**CHAT, "temperature": 101}),
    ("ChatBody", {**CHAT, "stop": [5]}),
    ("ChatBody", {**CHAT, "logit_bias": {"red": 1}}),
    ("ChatBody", {**CHAT, "logit_bias": {"5": 101}}),
    ("ChatBody", {**CHAT, "response_format": {"type": "xml"}}),
    ("ChatBody", {**CHAT, "structured_outputs": {"choice": [5]}}),
    ("HfBody", {"inputs": "x", "parameters": {"grammar": {"type": "regex"}}}),
    ("HfBody", {"inputs": "x", "parameters": {"generate_kwargs": {"top_p": 2}}}),
    ("JobBody", {**CHAT, "metadata": {"k": "v" * 513}}),
    ("ResponseBody", {**RESPONSE, "input": []}),
    ("ResponseBody", {**RESPONSE, "tools": [{"type": "web_search"}]}),
    ("ResponseBody", {**RESPONSE, "max_output_tokens": 0}),
    ("ResponseBody", {**RESPONSE, "include": ["everything"]}),
]
TAKEN: list[tuple[str, Any]] = [
    ("ChatBody", {**CHAT, "logit_bias": {"5": -100, "70": 0.5}, "logprobs": True, "top_logprobs": 20}),
    ("ChatBody", {**CHAT, "logit_bias": [], "min_tokens": 5, "min_p": 0.1, "stop_token_ids": [5]}),
    ("ChatBody", {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}),
    ("ChatBody", {**CHAT, "structured_outputs": {"json": {"type": "object"}}}),
    ("ChatBody", {**CHAT, "max_tokens": 2.0, "seed": 1e0, "stop_token_ids": [5.0], "n": 1.0}),
    ("ChatBody", {**CHAT, "top_k": -1, "modalities": ["text"], "functions": []}),
    ("ChatBody", {"messages": [*CHAT["messages"], {"role": "assistant", "content": []}]}),
    ("ChatBody", {"messages": [{"role": "user", "content": "x", "cache_control": None}]}),
    ("HfBody", {"inputs": "x", "parameters": {"grammar": {"type": "json", "value": {"a": 1}}}}),
    ("HfBody", {"inputs": "x", "parameters": {"details": True, "best_of": 1, "watermark": False}}),
    ("HfBody", {"inputs": None, "question": "What?", "image": examples.PICTURE}),
    ("ChatBody", {**CHAT, "best_of": 1, "echo": False, "suffix": "", "logit_bias": None}),
    ("JobBody", {**CHAT, "parameters": {"top_k": -1}}),
    ("ResponseBody", {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}, ITEM]}),
    ("ResponseBody", {"input": [ITEM, {**ITEM, "role": "assistant", "content": []}], "image": {}}),
    (
        "ResponseBody",
        {**RESPONSE, "store": False, "tools": [], "reasoning": {"effort": "none"}, "text": None},
    ),
    ("ResponseBody", {**RESPONSE, "truncation": "auto"}),
]


@pytest.mark.parametrize(("name", "body"), REFUSED)
def test_the_schemas_refuse_what_the_service_refuses(name: str, body: Any) -> None:
    with pytest.raises(CallerError):
        READERS[name](body)
    assert not accepts(shape(name), body)


@pytest.mark.parametrize(("name", "body"), TAKEN)
def test_the_schemas_take_what_the_service_takes(name: str, body: Any) -> None:
    READERS[name](body)
    assert accepts(shape(name), body)


def test_the_schemas_take_an_item_that_is_named_and_not_sent() -> None:
    assert accepts(shape("ResponseBody"), {"input": [{"type": "item_reference", "id": "msg_1"}]})


def test_the_documented_model_is_one_that_can_be_served() -> None:
    assert re.fullmatch(r"[a-z]+/[a-z]+", Model(id=examples.MODEL, engine="echo").id)
