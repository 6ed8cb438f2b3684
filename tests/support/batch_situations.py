"""How a file or a batch may stand when a call comes; see `situations`."""

from typing import Any

from tests.support.batches import ENDPOINT, jsonl, line
from tests.support.behaviour_situation import Situation
from tests.support.clients import until_async
from tests.support.keys import ADMIN, bearer
from tests.support.situations import When, answers, keys_asked_for, ready


async def _upload(situation: Situation, purpose: str = "batch", **headers: str) -> str:
    upload: dict[str, Any] = {"files": {"file": jsonl([line("1")])}, "data": {"purpose": purpose}}
    return str((await situation.client.post("/v1/files", **upload, headers=headers)).json()["id"])


async def _begin(situation: Situation) -> None:
    body = {"input_file_id": await _upload(situation), "endpoint": ENDPOINT, "completion_window": "24h"}
    situation.known = (await situation.client.post("/v1/batches", json=body)).json()["id"]


async def kept(situation: Situation) -> None:
    situation.known = await _upload(situation)


async def for_something_else(situation: Situation) -> None:
    situation.known = await _upload(situation, "user_data")


async def deleted(situation: Situation) -> None:
    await kept(situation)
    await situation.client.delete(f"/v1/files/{situation.known}")


async def another_callers(situation: Situation) -> None:
    await keys_asked_for(situation)
    situation.known = await _upload(situation, **bearer(ADMIN))


async def under_way(situation: Situation) -> None:
    await ready(situation)
    await _begin(situation)
    await situation.waiting()


async def completed(situation: Situation) -> None:
    await answers(situation)
    await _begin(situation)

    async def over() -> bool:
        return bool(
            (await situation.client.get(f"/v1/batches/{situation.known}")).json()["status"] == "completed"
        )

    await until_async(over)


async def cancelled(situation: Situation) -> None:
    await under_way(situation)
    await situation.client.post(f"/v1/batches/{situation.known}/cancel")


BATCHES: dict[str, When] = {
    "the file is kept": kept,
    "the file is for something else": for_something_else,
    "the file was deleted": deleted,
    "the file is another caller's": another_callers,
    "the batch is under way": under_way,
    "the batch is completed": completed,
    "the batch was cancelled": cancelled,
}
