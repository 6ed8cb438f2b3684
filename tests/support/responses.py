"""OpenAI's Responses over a real record store, answered by the test's own worker."""

from typing import Any

import httpx

from tests.support.scripted_worker import ScriptedWorker

ASK = {"model": "sightline/tiny", "input": "What is this?"}
LATER = {**ASK, "background": True}
PATH = "/v1/responses"


async def begun(worker: ScriptedWorker, client: httpx.AsyncClient, **said: Any) -> str:
    """A response in the background, waiting in line."""
    worker.beat()
    reply = await client.post(PATH, json=LATER | said)
    assert (reply.status_code, reply.json()["status"]) == (200, "queued"), reply.text
    return str(reply.json()["id"])


async def answered(
    worker: ScriptedWorker, client: httpx.AsyncClient, text: str = "A cat.", **said: Any
) -> str:
    """A response in the background that has ended."""
    response = await begun(worker, client, **said)
    finish(worker, text)
    return response


def finish(worker: ScriptedWorker, text: str = "A cat.") -> None:
    claim = worker.take()
    worker.say(claim, text[:2])
    worker.say(claim, text[2:], start=2)
    worker.succeed(claim, text)


def kinds(told: list[Any]) -> list[str]:
    return [t["type"].removeprefix("response.") for t in told]
