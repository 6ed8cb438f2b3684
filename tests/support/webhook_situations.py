"""How a webhook or the log of events may stand when a call comes; see `situations`."""

from collections.abc import Awaitable, Callable

from tests.support.behaviour_situation import Situation
from tests.support.keys import ADMIN, bearer
from tests.support.situations import keys_asked_for, ready, succeeded

HOOK = {"url": "https://example.com/told"}


async def _make(situation: Situation, **headers: str) -> None:
    situation.known = (await situation.client.post("/v1/webhooks", json=HOOK, headers=headers)).json()["id"]


async def there(situation: Situation) -> None:
    await ready(situation)
    await _make(situation)


async def off(situation: Situation) -> None:
    await there(situation)
    await situation.client.patch(f"/v1/webhooks/{situation.known}", json={"enabled": False})


async def logged(situation: Situation) -> None:
    await succeeded(situation)
    await _make(situation)
    (event,) = (await situation.client.get("/v1/events")).json()["data"]
    situation.event = event["id"]


async def as_many(situation: Situation) -> None:
    for _ in range(16):
        await _make(situation)


async def another_callers(situation: Situation) -> None:
    await keys_asked_for(situation)
    await _make(situation, **bearer(ADMIN))


WEBHOOKS: dict[str, Callable[[Situation], Awaitable[None]]] = {
    "there is a webhook": there,
    "the webhook is off": off,
    "there is a webhook, and a job has ended": logged,
    "there are 16 webhooks": as_many,
    "the webhook is another caller's": another_callers,
}
