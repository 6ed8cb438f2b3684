"""Functions at the doors: calls that are parsed, what is refused before a worker is asked, what is shared."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Literal

import pytest
from openai import AsyncOpenAI, pydantic_function_tool
from pydantic import BaseModel

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.app_server import listening
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


@pytest.mark.parametrize(
    ("turn", "tools", "param"),
    [
        ({"role": "assistant", "tool_calls": [CALL]}, "none", "messages"),
        ({"role": "tool", "tool_call_id": "none", "content": "Rain."}, "hermes", "messages[1].tool_call_id"),
    ],
)
async def test_a_call_without_a_place_and_an_answer_to_no_call_are_refused(
    deployment: Deployment, turn: dict[str, Any], tools: str, param: str
) -> None:
    deployment.worker.beat(tools=tools)
    async with client_of(deployment.app) as client:
        refused = await client.post("/v1/jobs", json={"model": TINY, "messages": [*TURNS, turn]})

    assert (refused.status_code, refused.json()["param"]) == (400, param)


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
