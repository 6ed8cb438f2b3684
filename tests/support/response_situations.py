"""How one of OpenAI's responses may stand when a call comes; see `situations`."""

from collections.abc import Awaitable, Callable

from tests.support.behaviour_situation import Situation, question
from tests.support.situations import answers, no_worker, ready
from tests.support.stored import forget_answers

PATH = "/v1/responses"


async def waits(situation: Situation) -> None:
    await ready(situation)
    reply = await situation.client.post(PATH, json=question(PATH) | {"background": True})
    situation.known = reply.json()["id"]


async def completed(situation: Situation) -> None:
    await waits(situation)
    situation.finish(await situation.taken())


async def cancelled(situation: Situation) -> None:
    await waits(situation)
    await situation.client.post(f"{PATH}/{situation.known}/cancel")


async def failed(situation: Situation) -> None:
    await waits(situation)
    situation.worker.fail(await situation.taken(), "invalid_image", "The picture is broken.")


async def foreground(situation: Situation) -> None:
    await answers(situation)
    situation.known = (await situation.client.post(PATH, json=question(PATH))).json()["id"]


async def expired(situation: Situation) -> None:
    await completed(situation)
    forget_answers(situation.worker.store.client)


RESPONSES: dict[str, Callable[[Situation], Awaitable[None]]] = {
    "there is no such response": no_worker,
    "the response waits": waits,
    "the response has completed": completed,
    "the response was cancelled": cancelled,
    "the response has failed": failed,
    "the response was waited for": foreground,
    "the response is no longer kept": expired,
}
