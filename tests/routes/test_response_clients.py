"""OpenAI's Responses as its own client asks for them: its helpers, its types, its errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.routes.conftest import Stage
from tests.support.clients import until_async
from tests.support.listening import listening

ASK: Any = {"model": "sightline/tiny", "input": "What is this?"}
ANSWER = '{"animal":"cat"}'


class Seen(BaseModel):
    animal: str


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[AsyncOpenAI]:
    stage.hand.beat()
    async with listening(stage.app) as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as found:
        yield found.with_options(max_retries=0)


@pytest.fixture
async def worker(stage: Stage) -> AsyncIterator[None]:
    """Whatever comes is answered, in two pieces."""
    task = asyncio.create_task(_work(stage))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _work(stage: Stage) -> None:
    async def waits() -> bool:
        return not stage.hand.idle()

    while True:
        await until_async(waits, 3600)
        _answer(stage)


def _answer(stage: Stage) -> None:
    claim = stage.hand.take()
    stage.hand.say(claim, ANSWER[:5])
    stage.hand.say(claim, ANSWER[5:], start=5)
    stage.hand.succeed(claim, ANSWER)


@pytest.mark.usefixtures("worker")
async def test_a_response_is_created_and_its_text_read(client: AsyncOpenAI) -> None:
    response = await client.responses.create(**ASK, instructions="Be brief.", metadata={"shop": "7"})

    assert (response.status, response.output_text) == ("completed", ANSWER)
    assert (response.instructions, response.metadata) == ("Be brief.", {"shop": "7"})
    assert response.usage is not None
    assert (response.usage.total_tokens, response.usage.input_tokens_details.cached_tokens) == (12, 0)


@pytest.mark.usefixtures("worker")
async def test_an_answer_in_a_format_is_parsed(client: AsyncOpenAI) -> None:
    response = await client.responses.parse(**ASK, text_format=Seen)
    assert response.output_parsed == Seen(animal="cat")


@pytest.mark.usefixtures("worker")
async def test_the_streaming_helper_follows_every_event(client: AsyncOpenAI) -> None:
    async with client.responses.stream(**ASK, text_format=Seen) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()

    texts = [event.snapshot for event in events if event.type == "response.output_text.delta"]
    assert texts == [ANSWER[:5], ANSWER]
    assert (final.output_parsed, final.status) == (Seen(animal="cat"), "completed")


@pytest.mark.usefixtures("worker")
async def test_a_conversation_is_continued_by_id_or_by_sending_the_answer_back(client: AsyncOpenAI) -> None:
    first = await client.responses.create(**ASK)
    by_id = await client.responses.create(
        model=ASK["model"], input="Are you sure?", previous_response_id=first.id
    )
    history: list[Any] = [{"role": "user", "content": ASK["input"]}]
    history += first.output
    history += [{"role": "user", "content": "Are you sure?"}]
    sent = await client.responses.with_raw_response.create(model=ASK["model"], input=history)
    items = [item async for item in client.responses.input_items.list(by_id.id, order="asc", limit=2)]

    assert by_id.output_text == ANSWER
    assert sent.headers["x-cache"] == "HIT", "the two ask the same"
    assert [getattr(item, "role", "") for item in items] == ["user", "assistant", "user"]


async def test_a_response_in_the_background_lives_from_creation_to_deletion(
    client: AsyncOpenAI, stage: Stage
) -> None:
    created = await client.responses.create(**ASK, background=True)
    waiting = await client.responses.retrieve(created.id)
    _answer(stage)
    done = await client.responses.retrieve(created.id, include=["message.output_text.logprobs"])
    late = await client.responses.cancel(created.id)
    await client.responses.delete(created.id)
    with pytest.raises(openai.NotFoundError) as gone:
        await client.responses.retrieve(created.id)

    assert (created.status, created.output_text, waiting.status) == ("queued", "", "queued")
    assert (done.status, done.output_text, late) == ("completed", ANSWER, done)
    assert gone.value.code == "response_not_found"


async def test_a_response_in_the_background_is_cancelled(client: AsyncOpenAI, stage: Stage) -> None:
    created = await client.responses.create(**ASK, background=True)
    cancelled = await client.responses.cancel(created.id)
    again = await client.responses.cancel(created.id)

    assert (cancelled.status, cancelled) == ("cancelled", again)
    assert stage.hand.idle()


@pytest.mark.usefixtures("worker")
async def test_only_a_response_in_the_background_is_cancelled(client: AsyncOpenAI) -> None:
    done = await client.responses.create(**ASK)
    with pytest.raises(openai.BadRequestError, match="Only a response in the background"):
        await client.responses.cancel(done.id)


async def test_a_broken_stream_is_taken_up_where_it_was_left(client: AsyncOpenAI, stage: Stage) -> None:
    stream = await client.responses.create(**ASK, background=True, stream=True)
    seen = []
    async for event in stream:
        seen.append(event)
        if event.type == "response.queued":
            _answer(stage)
        if event.type == "response.output_text.delta":
            await stream.close()
            break
    assert seen[0].type == "response.created"
    response = seen[0].response.id
    after = seen[-1].sequence_number
    rest = [e async for e in await client.responses.retrieve(response, stream=True, starting_after=after)]
    whole = [e async for e in await client.responses.retrieve(response, stream=True)]
    async with client.responses.stream(response_id=response, starting_after=after) as helped:
        filtered = [event.sequence_number async for event in helped]
        final = await helped.get_final_response()

    assert [*seen, *rest] == whole
    assert filtered == [event.sequence_number for event in rest]
    assert final.output_text == ANSWER


@pytest.mark.usefixtures("worker")
async def test_what_is_refused_is_an_error_that_names_the_field(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as tool:
        await client.responses.create(**ASK, tools=[{"type": "web_search"}])
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.responses.create(**ASK, previous_response_id="resp_0")
    with pytest.raises(openai.NotFoundError) as model:
        await client.responses.create(model="nobody/none", input="Hi")

    refused = [(e.value.code, e.value.param) for e in (tool, unknown, model)]
    assert refused == [
        ("unsupported_parameter", "tools[0].type"),
        ("response_not_found", "previous_response_id"),
        ("model_not_found", "model"),
    ]


async def test_a_response_that_fails_in_the_background_says_why(client: AsyncOpenAI, stage: Stage) -> None:
    created = await client.responses.create(**ASK, background=True)
    stage.hand.fail(stage.hand.take(), "invalid_image", "The picture is broken.")
    failed = await client.responses.retrieve(created.id)

    assert failed.error is not None
    assert (failed.status, failed.output, failed.error.code) == ("failed", [], "invalid_image")
