"""Who sends a field that nobody knows is answered, and told which one did nothing."""

from typing import Any

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.batches import serving

MODEL = "sightline/tiny"
IGNORED = "x-ignored-fields"
TURN = {"role": "user", "content": [{"type": "text", "text": "Hi", "x": 1}], "y": {"a": 1}}
CHAT = {"model": MODEL, "messages": [TURN], "max_token": 5, "nothing": None, "user": "me"}
PLAIN = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
IN_TURN = ["messages[0].content[0].x", "messages[0].y"]
CUT = {"id": "1", "function": {"name": "f", "arguments": '{"a": '}}
TOOL = {"type": "function", "function": {"name": "f", "colour": 1}}


@pytest.mark.parametrize(
    ("path", "body", "paths"),
    [
        ("/v1/chat/completions", CHAT, ["max_token", *IN_TURN]),
        (
            "/v1/chat/completions",
            CHAT | {"stream": True, "stream_options": {"more": 1}, "tools": [TOOL], "tool_choice": "none"},
            ["max_token", *IN_TURN, "stream_options.more", "tools[0].function.colour"],
        ),
        (
            "/v1/chat/completions",
            {
                "model": MODEL,
                "messages": [{"role": "assistant", "tool_calls": [CUT]}, {"role": "user", "content": "Hi"}],
            },
            ["messages[0].tool_calls[0].function.arguments"],
        ),
        ("/v1/responses", {"model": MODEL, "input": [TURN]}, ["input[0].content[0].x", "input[0].y"]),
        (
            f"/models/{MODEL}",
            {"inputs": "Hi", "parameters": {"x": 1}, "options": {"y": 1}},
            ["options.y", "parameters.x"],
        ),
        ("/v1/jobs", {"model": MODEL, "input": {"prompt": "Hi", "x": 1}, "y": 1}, ["input.x", "y"]),
        ("/v1/estimate", {"model": MODEL, "input": {"prompt": "Hi", "x": 1}}, ["input.x"]),
        ("/v1/chat/completions", PLAIN | {"a,\r\nb: é": 1}, ["a???b:??"]),
    ],
)
async def test_a_field_that_nobody_knows_is_ignored_and_named_each_time(
    deployment: Deployment, path: str, body: dict[str, Any], paths: list[str]
) -> None:
    async with serving(deployment.worker), client_of(deployment.app) as client:
        for _ in range(3):  # the second time it is cached, the third the call itself is remembered
            answer = await client.post(path, json=body)
            assert answer.status_code in (200, 202), answer.text
            assert sorted(answer.headers[IGNORED].split(",")) == sorted(paths)
        known = await client.post("/v1/chat/completions", json=PLAIN | {"best_of": 1})
    assert IGNORED not in known.headers


async def test_the_names_of_a_thousand_fields_make_no_header_that_is_too_long(deployment: Deployment) -> None:
    many = {f"field_{number}": 1 for number in range(1000)}
    async with serving(deployment.worker), client_of(deployment.app) as client:
        answer = await client.post("/v1/chat/completions", json=PLAIN | many)
    assert answer.status_code == 200
    assert len(answer.headers[IGNORED]) <= 1000


@pytest.mark.parametrize(
    ("path", "body", "param", "instead"),
    [
        ("/v1/chat/completions", {"messages": [TURN], "images": ["QQ=="]}, "images", "messages"),
        ("/v1/responses", {"input": "Hi", "files": ["QQ=="]}, "files", "input"),
        ("/v1/jobs", {"input": {"prompt": "Hi", "document": "QQ=="}}, "input.document", "messages"),
        (f"/models/{MODEL}", {"inputs": {"text": "Hi", "pdf": "QQ=="}}, "inputs.pdf", "inputs"),
        (f"/models/{MODEL}", {"inputs": {"text": "Hi", "min_pixels": 9}}, "inputs.min_pixels", "inputs"),
        (
            "/v1/chat/completions",
            {"messages": [TURN], "mm_processor_kwargs": {"resized_width": 80}},
            "mm_processor_kwargs.resized_width",
            "max_pixels",
        ),
    ],
)
async def test_what_is_asked_or_shown_is_no_hint_where_it_is_not_read(
    deployment: Deployment, path: str, body: dict[str, Any], param: str, instead: str
) -> None:
    async with client_of(deployment.app) as client:
        refused = await client.post(path, json={"model": MODEL, **body})
    assert refused.status_code == 400
    assert f"`{param}` is not a field of this request; send `{instead}` instead" in refused.text
