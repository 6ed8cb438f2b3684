"""OpenAI's Responses over a real record store: asked, waited for, followed."""

from asgi_lifespan import LifespanManager

from api.app import create_app
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, data, posted
from tests.support.clients import until_async
from tests.support.responses import ASK, LATER, PATH, begun, finish, kinds


async def test_a_stream_begins_with_its_first_word_and_ends_with_the_whole(deployment: Deployment) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, ASK | {"stream": True}, PATH)
    claim = await deployment.worker.taken()
    deployment.worker.say(claim, "A ")
    await call.until(lambda e: b"output_text.delta" in e.body)
    deployment.worker.succeed(claim, "A ")
    await call.finish()

    told = data(call.body)
    first = ["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"]
    assert kinds(told)[:5] == first
    assert [t["sequence_number"] for t in told] == list(range(len(told)))
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "A "
    assert b"event: response.completed\ndata: " in call.body
    assert b"[DONE]" not in call.body


async def test_a_failure_behind_the_first_word_is_told_as_openai_tells_it(deployment: Deployment) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, ASK | {"stream": True}, PATH)
    claim = await deployment.worker.taken()
    deployment.worker.say(claim, "A ")
    deployment.worker.fail(claim, "stream_broken", "It broke.")
    await call.finish()

    last = data(call.body)[-1]
    assert (call.status, last["type"], last["response"]["status"]) == (200, "response.failed", "failed")
    assert last["response"]["error"]["code"] == "stream_broken"


async def test_the_caller_of_a_response_in_the_background_may_hang_up(deployment: Deployment) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, LATER | {"stream": True}, PATH)
    claim = await deployment.worker.taken()
    deployment.worker.say(claim, "A ")
    await call.until(lambda e: b'"A "' in e.body)
    call.hang_up()
    await call.finish()
    deployment.worker.succeed(claim, "A cat.")
    async with client_of(deployment.app) as client:
        (job,) = (await client.get("/v1/jobs")).json()["data"]

    assert job["status"] == "succeeded"


async def test_the_caller_of_any_other_ends_it_by_hanging_up(deployment: Deployment) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, ASK, PATH)
    await deployment.worker.waiting()
    call.hang_up()
    await call.finish()
    async with client_of(deployment.app) as client:

        async def cancelled() -> bool:
            jobs = (await client.get("/v1/jobs", params={"status": "cancelled"})).json()["data"]
            return len(jobs) == 1

        await until_async(cancelled)


async def test_another_process_tells_exactly_the_events_that_are_missing(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        call = posted(deployment.app, LATER | {"stream": True}, PATH)
        deployment.worker.beat()
        await deployment.worker.waiting()
        finish(deployment.worker)
        await call.finish()
    parts = call.body.decode().split("\n\n")[:-1]
    url = f"{PATH}/{data(call.body)[0]['response']['id']}?stream=true&starting_after="
    async with (
        LifespanManager(create_app(deployment.worker.settings)) as other,
        client_of(other.app) as client,
    ):
        rest = [(await client.get(f"{url}{seen}")).text for seen in range(len(parts))]
        beyond = await client.get(f"{url}{len(parts)}")

    assert len(parts) == 11
    assert rest == ["".join(part + "\n\n" for part in parts[seen + 1 :]) for seen in range(len(parts))]
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (410, "stream_rewound")


async def test_a_reader_who_comes_back_while_it_is_written_misses_nothing(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        response = await begun(deployment.worker, client)
        claim = deployment.worker.take()
        deployment.worker.say(claim, "A ")
        url = f"{PATH}/{response}?stream=true&starting_after=5"
        reader = Exchange(deployment.app, "GET", url).start()
        deployment.worker.say(claim, "cat", start=2)
        await reader.until(lambda e: b'"cat"' in e.body)
        deployment.worker.say(claim, ".", start=5)
        deployment.worker.succeed(claim, "A cat.")
        await reader.finish()

    told = data(reader.body)
    assert [t["sequence_number"] for t in told] == list(range(6, 12))
    assert "".join(t.get("delta", "") for t in told) == "cat."
