"""The description of OpenAI's Responses is true of what is really answered."""

from typing import Any

import httpx
import pytest

from tests.routes.conftest import Stage
from tests.support.app import client_of
from tests.support.asgi_exchange import data
from tests.support.openapi import JSON, SCHEMA, SSE, accepts, check, item_of, shape

PATH = "/v1/responses"
ASK: dict[str, Any] = {"model": "sightline/tiny", "input": "What is this?", "background": True}


def of_its_schema(method: str, path: str, reply: httpx.Response) -> None:
    content = SCHEMA["paths"][path][method]["responses"][str(reply.status_code)]["content"]
    if reply.headers["content-type"] == JSON:
        check(content[JSON]["schema"], reply.json())
    else:
        told = data(reply.content)
        assert told
        for event in told:
            check(item_of(content[SSE]["schema"]), event)


async def test_every_answer_is_of_its_schema(stage: Stage) -> None:
    stage.hand.beat()
    form = {"type": "json_schema", "name": "seen", "schema": {"type": "object"}}
    unshown = {"tools": [{"type": "function", "name": "clock"}], "tool_choice": "none"}
    async with client_of(stage.app) as client:
        made = await client.post(
            PATH, json=ASK | unshown | {"text": {"format": form}, "instructions": "Be brief."}
        )
        own = f"{PATH}/{made.json()['id']}"
        claim = stage.hand.take()
        stage.hand.say(claim, "{}")
        stage.hand.succeed(claim, "{}")
        whole = await client.get(own)
        stream = await client.get(own, params={"stream": "true"})
        items = await client.get(f"{own}/input_items")
        cancelled = await client.post(f"{own}/cancel")
        gone = await client.delete(own)
        missing = await client.get(own)

    one = f"{PATH}/{{id}}"
    of_its_schema("post", PATH, made)
    for reply in (whole, stream, missing):
        of_its_schema("get", one, reply)
    of_its_schema("get", f"{one}/input_items", items)
    of_its_schema("post", f"{one}/cancel", cancelled)
    of_its_schema("delete", one, gone)


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]}, True),
        ({"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "A cat."}]}]}, True),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, True),
        ({"store": False, "tools": [], "reasoning": {"effort": "none"}, "text": None}, True),
        ({"input": []}, False),
        ({"input": None}, False),
        ({"tools": [{"type": "web_search"}]}, False),
        ({"reasoning": {"effort": "high"}}, False),
        ({"text": {"verbosity": "low"}}, False),
        ({"truncation": "auto"}, True),
        ({"max_output_tokens": 0}, False),
        ({"include": ["everything"]}, False),
        ({"messages": []}, False),
    ],
)
def test_the_schema_of_a_call_takes_and_refuses_what_the_service_does(
    change: dict[str, Any], taken: bool
) -> None:
    assert accepts(shape("ResponseBody"), ASK | change) == taken
