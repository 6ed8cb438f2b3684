"""Functions at the doors: calls that are parsed, what is refused before a worker is asked, what is shared."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Literal

import pytest
from openai import AsyncOpenAI, pydantic_function_tool
from pydantic import BaseModel

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.app_server import listening
from tests.support.batches import ENDPOINT, begun, ended, serving
from tests.support.tools import CLOCK, WEATHER

TINY = "sightline/tiny"
TURNS: list[Any] = [{"role": "user", "content": "How is Oslo?"}]
CHAT: dict[str, Any] = {"model": TINY, "messages": TURNS, "tools": [WEATHER, CLOCK]}
CALLED = '{"name": "Weather", "arguments": {"city": "Oslo", "unit": "c"}}'
WROTE = f"Let me look.\n<tool_call>\n{CALLED}\n</tool_call>"


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    unit: Literal["c", "f"]


@pytest.fixture
async def url(deployment: Deployment) -> AsyncIterator[str]:
    """Whatever comes is answered, in pieces that cut the tag in two."""
    deployment.worker.beat(tools="hermes")
    task = asyncio.create_task(_work(deployment))
    async with listening(deployment.app) as found:
        yield found
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _work(deployment: Deployment) -> None:
    while True:
        await deployment.worker.waiting(3600)
        claim = deployment.worker.take()
        for start, end in ((0, 16), (16, 40), (40, None)):
            deployment.worker.say(claim, WROTE[start:end], start, syntax="hermes")
        deployment.worker.succeed(claim, WROTE, syntax="hermes")


@pytest.fixture
async def openai(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as found:
        yield found


async def test_openais_client_parses_what_a_chat_calls(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.parse(
        model=TINY, messages=TURNS, tools=[pydantic_function_tool(Weather)]
    )
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me look.")
    [call] = choice.message.tool_calls or []
    assert call.function.parsed_arguments == Weather(city="Oslo", unit="c")


async def test_openais_helper_gathers_a_call_from_a_stream(openai: AsyncOpenAI) -> None:
    async with openai.chat.completions.stream(
        model=TINY, messages=TURNS, tools=[pydantic_function_tool(Weather)]
    ) as stream:
        words = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()

    [choice] = final.choices
    [call] = choice.message.tool_calls or []
    assert ("".join(words), choice.finish_reason) == ("Let me look.", "tool_calls")
    assert call.function.parsed_arguments == Weather(city="Oslo", unit="c")


@pytest.mark.parametrize(("choice", "empty"), [("required", [None, None]), ("auto", ["", None])])
async def test_a_stream_has_no_empty_text_behind_a_call_or_beside_those_that_were_demanded(
    openai: AsyncOpenAI, choice: Literal["required", "auto"], empty: list[str | None]
) -> None:
    stream = await openai.chat.completions.create(**CHAT, tool_choice=choice, stream=True)
    told = [chunk.choices[0].delta.content async for chunk in stream]
    assert ([told[0], told[-1]], "Let me look." in told) == (empty, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/jobs", CHAT),
        (
            "/v1/responses",
            {"model": TINY, "input": "Hi", "tools": [{"type": "function", **WEATHER["function"]}]},
        ),
    ],
)
async def test_a_model_without_a_place_for_functions_says_so_before_any_worker_is_asked(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    deployment.worker.beat(tools="none")
    async with client_of(deployment.app) as client:
        refused = await client.post(path, json=body)

    problem = refused.json().get("error", refused.json())
    assert (refused.status_code, problem["code"], problem["param"]) == (400, "unsupported_parameter", "tools")
    assert TINY in refused.text
    assert deployment.worker.idle()


async def test_what_has_to_be_called_needs_no_such_place(deployment: Deployment) -> None:
    deployment.worker.beat(tools="none")
    named = {"type": "function", "function": {"name": "weather"}}
    async with client_of(deployment.app) as client:
        for choice in ("required", named):
            taken = await client.post("/v1/jobs", json=CHAT | {"tool_choice": choice})
            assert taken.status_code == 202, taken.text
    assert not deployment.worker.idle()


CALL = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}


async def test_a_call_without_a_place_is_refused(deployment: Deployment) -> None:
    deployment.worker.beat(tools="none")
    turn = {"role": "assistant", "tool_calls": [CALL]}
    async with client_of(deployment.app) as client:
        refused = await client.post("/v1/jobs", json={"model": TINY, "messages": [*TURNS, turn]})

    assert (refused.status_code, refused.json()["param"]) == (400, "messages")


PATIENT = {"prefer": "wait=60"}
OSLO = '{"city":"Oslo"}'
HISTORIES: list[tuple[dict[str, Any], str, str]] = [
    ({"arguments": '{"city": '}, "{}", "arguments"),
    ({"arguments": '{"city": NaN}'}, "{}", "arguments"),
    ({"arguments": "[1]"}, "{}", "arguments"),
    ({"arguments": [1]}, "{}", "arguments"),
    ({"arguments": "5"}, "{}", "arguments"),
    ({"arguments": 5}, "{}", "arguments"),
    ({"arguments": '"Oslo"'}, "{}", "arguments"),
    ({"arguments": ""}, "{}", ""),
    ({"arguments": None}, "{}", ""),
    ({}, "{}", ""),
    ({"arguments": json.dumps(OSLO)}, OSLO, ""),
    ({"arguments": OSLO, "name": "default_api:weather()"}, OSLO, "name"),
    ({"arguments": OSLO, "name": ""}, OSLO, "name"),
]
"""The call of an earlier turn, the arguments that a model is shown, and the field that a header names."""


def as_chat(call: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A conversation with this call, and the path of the call."""
    turn = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "weather"} | call}]}
    given = {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "It was cut."}]}
    return {"model": TINY, "messages": [*TURNS, turn, given, *TURNS]}, "messages[1].tool_calls[0].function."


def as_response(call: dict[str, Any]) -> tuple[dict[str, Any], str]:
    item = {"type": "function_call", "call_id": "1", "name": "weather"} | call
    given = {"type": "function_call_output", "call_id": "1", "output": "It was cut."}
    return {"model": TINY, "input": [*TURNS, item, given, *TURNS]}, "input[1]."


@pytest.mark.parametrize(
    ("path", "write", "said"),
    [
        ("/v1/chat/completions", as_chat, {}),
        ("/v1/chat/completions", as_chat, {"stream": True}),
        (f"/models/{TINY}/v1/chat/completions", as_chat, {"stream": True}),
        ("/v1/jobs", as_chat, {}),
        ("/v1/responses", as_response, {}),
        ("/v1/responses", as_response, {"stream": True}),
    ],
)
async def test_a_broken_call_costs_no_conversation(
    deployment: Deployment,
    path: str,
    write: Callable[[dict[str, Any]], tuple[dict[str, Any], str]],
    said: dict[str, Any],
) -> None:
    async with client_of(deployment.app) as client:
        for call, shown, named in HISTORIES:
            body, at = write(call)
            deployment.worker.beat(tools="hermes")
            asked = asyncio.create_task(client.post(path, json=body | said, headers=PATIENT))
            claim = await deployment.worker.taken()
            deployment.worker.say(claim, "Rain.")
            deployment.worker.succeed(claim, "Rain.")
            answer = await asked
            assert (answer.status_code, "Rain." in answer.text) == (200, True), answer.text
            assert answer.headers.get("x-ignored-fields", "") == (named and at + named)
            assert json.loads(claim.request)["messages"][1]["calls"][0]["arguments"] == shown
            deployment.server.empty()


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "tool", "tool_call_id": "trimmed", "content": "Rain."}, *TURNS],
        [{"role": "tool", "content": "Rain."}, *TURNS],
        [
            {"role": "tool", "tool_call_id": "1", "content": "Rain."},
            {"role": "assistant", "tool_calls": [CALL]},
            *TURNS,
        ],
        [*TURNS, {"role": "assistant", "tool_calls": [CALL]}, *TURNS],
        [*TURNS, {"role": "assistant", "tool_calls": [{"function": CALL["function"]}]}, *TURNS],
    ],
    ids=["trimmed call", "no id", "before its call", "call without result", "call without id"],
)
async def test_calls_and_results_need_no_pair(deployment: Deployment, turns: list[dict[str, Any]]) -> None:
    deployment.worker.beat(tools="hermes")
    items = [
        {"type": "function_call_output", "call_id": turn.get("tool_call_id"), "output": turn["content"]}
        if turn["role"] == "tool"
        else {"type": "function_call", "call_id": turn["tool_calls"][0].get("id"), "name": "clock"}
        if "tool_calls" in turn
        else turn
        for turn in turns
    ]
    line = {"custom_id": "1", "method": "POST", "url": ENDPOINT, "body": {"model": TINY, "messages": turns}}
    async with (
        serving(deployment.worker),
        client_of(deployment.app) as client,
        listening(deployment.app) as url,
    ):
        for path, said in (
            ("/v1/chat/completions", {"messages": turns}),
            ("/v1/responses", {"input": items}),
        ):
            answer = await client.post(path, json={"model": TINY, **said})
            assert answer.status_code == 200, answer.text
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as openai:
            batch = await ended(openai, await begun(openai, [line]))
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 1


async def test_a_call_of_a_cached_answer_is_streamed_too(deployment: Deployment) -> None:
    deployment.worker.beat(tools="hermes")
    async with client_of(deployment.app) as client:
        await client.post("/v1/jobs", json=CHAT)
        claim = deployment.worker.take()
        deployment.worker.say(claim, WROTE, syntax="hermes")
        deployment.worker.succeed(claim, WROTE, syntax="hermes")
        streamed = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})

    assert (streamed.headers["x-cache"], b'"tool_calls"' in streamed.content) == ("HIT", True)
    assert b"<tool_call>" not in streamed.content


async def test_conversations_whose_calls_are_named_otherwise_share_an_answer(deployment: Deployment) -> None:
    deployment.worker.beat(tools="hermes")

    def turns(name: str) -> list[Any]:
        call = {"id": name, "type": "function", "function": {"name": "clock", "arguments": "{}"}}
        given = {"role": "tool", "tool_call_id": name, "content": "Noon."}
        return [*TURNS, {"role": "assistant", "tool_calls": [call]}, given]

    async with client_of(deployment.app) as client:
        await client.post("/v1/jobs", json={"model": TINY, "messages": turns("a")})
        deployment.worker.succeed(deployment.worker.take(), "It is noon.")
        again = await client.post("/v1/jobs", json={"model": TINY, "messages": turns("b")})

    assert again.headers["x-cache"] == "HIT"
