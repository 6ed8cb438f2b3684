"""What an Idempotency-Key may have been used for when a call comes; see `situations`."""

from collections.abc import Awaitable, Callable

from tests.support.behaviour_stage import Scene
from tests.support.situations import answers


async def same_call(scene: Scene) -> None:
    await answers(scene)
    scene.known = (await scene.send()).headers["x-job-id"]


async def other_body(scene: Scene) -> None:
    await answers(scene)
    await scene.send("What else?")


async def deleted(scene: Scene) -> None:
    await same_call(scene)
    await scene.client.delete(f"/v1/jobs/{scene.known}")


async def outlived(scene: Scene) -> None:
    await same_call(scene)
    # As at the end of `retain_s`, or of `retention.job_s`.
    scene.hand.store.client.delete(f"sl5:{scene.known}")


IDEMPOTENCY: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "the same call was made before": same_call,
    "the key was used for another body": other_body,
    "the job of the key was deleted": deleted,
    "the job of the key is no longer kept": outlived,
}
