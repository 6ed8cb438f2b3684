"""OpenAI's Responses over a real record store, answered by the test's own worker."""

from typing import Any

import httpx

from tests.support.clients import until_async
from tests.support.scripted_worker import Hand

ASK = {"model": "sightline/tiny", "input": "What is this?"}
LATER = {**ASK, "background": True}
PATH = "/v1/responses"


async def begun(hand: Hand, client: httpx.AsyncClient, **said: Any) -> str:
    """A response in the background, waiting in line."""
    hand.beat()
    reply = await client.post(PATH, json=LATER | said)
    assert (reply.status_code, reply.json()["status"]) == (200, "queued"), reply.text
    return str(reply.json()["id"])


async def answered(hand: Hand, client: httpx.AsyncClient, text: str = "A cat.", **said: Any) -> str:
    """A response in the background that has ended."""
    response = await begun(hand, client, **said)
    finish(hand, text)
    return response


def finish(hand: Hand, text: str = "A cat.") -> None:
    claim = hand.take()
    hand.say(claim, text[:2])
    hand.say(claim, text[2:], start=2)
    hand.succeed(claim, text)


async def in_line(hand: Hand) -> None:
    async def waits() -> bool:
        return not hand.idle()

    await until_async(waits)


def kinds(told: list[Any]) -> list[str]:
    return [t["type"].removeprefix("response.") for t in told]
