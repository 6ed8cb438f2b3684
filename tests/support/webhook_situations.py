"""How a webhook or the log of events may stand when a call comes; see `situations`."""

from collections.abc import Awaitable, Callable

from tests.support.behaviour_stage import Scene
from tests.support.keys import ADMIN, bearer
from tests.support.situations import keys_asked_for, ready, succeeded

HOOK = {"url": "https://example.com/told"}


async def _make(scene: Scene, **headers: str) -> None:
    scene.known = (await scene.client.post("/v1/webhooks", json=HOOK, headers=headers)).json()["id"]


async def there(scene: Scene) -> None:
    await ready(scene)
    await _make(scene)


async def off(scene: Scene) -> None:
    await there(scene)
    await scene.client.patch(f"/v1/webhooks/{scene.known}", json={"enabled": False})


async def logged(scene: Scene) -> None:
    await succeeded(scene)
    await _make(scene)
    (event,) = (await scene.client.get("/v1/events")).json()["data"]
    scene.event = event["id"]


async def as_many(scene: Scene) -> None:
    for _ in range(16):
        await _make(scene)


async def another_callers(scene: Scene) -> None:
    await keys_asked_for(scene)
    await _make(scene, **bearer(ADMIN))


WEBHOOKS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "there is a webhook": there,
    "the webhook is off": off,
    "there is a webhook, and a job has ended": logged,
    "there are 16 webhooks": as_many,
    "the webhook is another caller's": another_callers,
}
