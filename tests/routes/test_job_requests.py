"""What a job asked is read back as it could be asked again, by its own caller alone."""

from typing import Any

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.circle_questions import data_uri
from tests.support.keys import code_of
from tests.support.pictures import picture

TOOL = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time", "parameters": {"type": "object"}},
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What time is it?"},
    {"role": "assistant", "content": [], "tool_calls": [CALL]},
    {"role": "tool", "content": "Noon", "tool_call_id": "call_1"},
]
PARAMETERS: dict[str, Any] = {
    "max_new_tokens": 5,
    "temperature": 0.5,
    "seed": 7,
    "stop": ["END"],
    "logit_bias": {"5": -1.0},
    "logprobs": True,
    "top_logprobs": 2,
    "chat_template_kwargs": {"thinking": False},
}
WHOLE: dict[str, Any] = {
    "messages": TURNS,
    "parameters": PARAMETERS,
    "tools": [TOOL],
    "parallel_tool_calls": False,
    "metadata": {"shop": "7"},
    "priority": "batch",
}
NAMED = {"type": "function", "function": {"name": "clock"}}
BODIES: list[dict[str, Any]] = [
    WHOLE,
    {"messages": TURNS[1:2], "tools": [TOOL], "tool_choice": NAMED},
    *(
        {"messages": TURNS[1:2], "parameters": {"structured_outputs": form}}
        for form in ({"choice": ["noon", "night"]}, {"regex": "[a-z]+"}, {"json": {"type": "object"}})
    ),
    {"messages": [TURNS[1], {"role": "assistant", "content": "It is"}], "continue_final_message": True},
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_what_a_job_asked_can_be_asked_again(deployment: Deployment, body: dict[str, Any]) -> None:
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=body | {"model": "sightline/tiny"})).json()
        request = (await client.get(f"/v1/jobs/{job['id']}/request")).json()
        again = {name: value for name, value in request.items() if name not in ("object", "id", "pictures")}
        repeat = await client.post("/v1/jobs", json=again)

    assert (request["object"], request["id"], request["pictures"]) == ("job.request", job["id"], [])
    assert repeat.status_code == 202, repeat.text
    if "temperature" in body.get("parameters", {}):
        assert request["parameters"] == PARAMETERS
    assert repeat.headers["x-cache"] == "COALESCED", "it is the same question"


async def test_pictures_are_told_by_their_places_and_sizes(deployment: Deployment) -> None:
    data = picture(size=(30, 20))
    parts = [
        {"type": "text", "text": "Left or right?"},
        {"type": "image", "image": data_uri(data)},
        {"type": "image", "image": "https://example.org/a.png"},
    ]
    body = {"model": "sightline/tiny", "messages": [{"role": "user", "content": parts}]}
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=body)).json()
        request = (await client.get(f"/v1/jobs/{job['id']}/request")).json()

    assert job["question"] == {"text": "Left or right?", "pictures": 2}
    assert request["messages"][0]["content"] == [
        parts[0],
        {"type": "image", "n": 0},
        {"type": "image", "n": 1, "url": "https://example.org/a.png"},
    ]
    assert request["pictures"] == [{"n": 0, "bytes": len(data), "width": 30, "height": 20, "format": "PNG"}]


async def test_nothing_is_read_of_a_job_that_is_not_stored(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        body = {"model": "sightline/tiny", "input": {"prompt": "What?"}, "store": False}
        job = (await client.post("/v1/jobs", json=body)).json()
        reply = await client.get(f"/v1/jobs/{job['id']}/request")

    assert "question" not in job
    assert (reply.status_code, code_of(reply)) == (404, "job_not_found")
