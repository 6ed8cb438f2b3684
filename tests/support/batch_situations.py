"""How a file or a batch may stand when a call comes; see `situations`."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.batches import ENDPOINT, jsonl, line
from tests.support.behaviour_stage import Scene
from tests.support.clients import until_async
from tests.support.keys import ADMIN, bearer
from tests.support.situations import answers, keys_asked_for, ready


async def _upload(scene: Scene, purpose: str = "batch", **headers: str) -> str:
    upload: dict[str, Any] = {"files": {"file": jsonl([line("1")])}, "data": {"purpose": purpose}}
    return str((await scene.client.post("/v1/files", **upload, headers=headers)).json()["id"])


async def _begin(scene: Scene) -> None:
    body = {"input_file_id": await _upload(scene), "endpoint": ENDPOINT, "completion_window": "24h"}
    scene.known = (await scene.client.post("/v1/batches", json=body)).json()["id"]


async def kept(scene: Scene) -> None:
    scene.known = await _upload(scene)


async def for_something_else(scene: Scene) -> None:
    scene.known = await _upload(scene, "user_data")


async def deleted(scene: Scene) -> None:
    await kept(scene)
    await scene.client.delete(f"/v1/files/{scene.known}")


async def another_callers(scene: Scene) -> None:
    await keys_asked_for(scene)
    scene.known = await _upload(scene, **bearer(ADMIN))


async def under_way(scene: Scene) -> None:
    await ready(scene)
    await _begin(scene)
    await scene.waiting()


async def completed(scene: Scene) -> None:
    await answers(scene)
    await _begin(scene)

    async def over() -> bool:
        return bool((await scene.client.get(f"/v1/batches/{scene.known}")).json()["status"] == "completed")

    await until_async(over)


async def cancelled(scene: Scene) -> None:
    await under_way(scene)
    await scene.client.post(f"/v1/batches/{scene.known}/cancel")


BATCHES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "the file is kept": kept,
    "the file is for something else": for_something_else,
    "the file was deleted": deleted,
    "the file is another caller's": another_callers,
    "the batch is under way": under_way,
    "the batch is completed": completed,
    "the batch was cancelled": cancelled,
}
