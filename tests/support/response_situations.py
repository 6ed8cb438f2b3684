"""How one of OpenAI's responses may stand when a call comes; see `situations`."""

from collections.abc import Awaitable, Callable

from tests.support.behaviour_stage import Scene, question
from tests.support.situations import answers, no_worker, ready

PATH = "/v1/responses"


async def waits(scene: Scene) -> None:
    await ready(scene)
    reply = await scene.client.post(PATH, json=question(PATH) | {"background": True})
    scene.known = reply.json()["id"]


async def completed(scene: Scene) -> None:
    await waits(scene)
    scene.finish(await scene.taken())


async def cancelled(scene: Scene) -> None:
    await waits(scene)
    await scene.client.post(f"{PATH}/{scene.known}/cancel")


async def failed(scene: Scene) -> None:
    await waits(scene)
    scene.hand.fail(await scene.taken(), "invalid_image", "The picture is broken.")


async def foreground(scene: Scene) -> None:
    await answers(scene)
    scene.known = (await scene.client.post(PATH, json=question(PATH))).json()["id"]


async def expired(scene: Scene) -> None:
    await completed(scene)
    # As at the end of `retention.result_s`.
    scene.hand.store.client.delete(*scene.hand.store.client.keys("sl5:run_*"))


RESPONSES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "there is no such response": no_worker,
    "the response waits": waits,
    "the response has completed": completed,
    "the response was cancelled": cancelled,
    "the response has failed": failed,
    "the response was waited for": foreground,
    "the response is no longer kept": expired,
}
