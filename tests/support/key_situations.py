"""What an Idempotency-Key may have been used for when a call comes; see `situations`."""

from tests.support.behaviour_situation import Situation
from tests.support.clients import until_async
from tests.support.situations import When, answers


async def same_call(situation: Situation) -> None:
    await answers(situation)
    situation.known = (await situation.send()).headers["x-job-id"]


async def other_body(situation: Situation) -> None:
    await answers(situation)
    await situation.send("What else?")


async def deleted(situation: Situation) -> None:
    await same_call(situation)
    await situation.client.delete(f"/v1/jobs/{situation.known}")


async def outlived(situation: Situation) -> None:
    await same_call(situation)

    async def succeeded() -> bool:
        reply = await situation.client.get(f"/v1/jobs/{situation.known}")
        return bool(reply.json()["status"] == "succeeded")

    await until_async(succeeded)
    # As at the end of `retain_s`, or of `retention.job_s`.
    situation.worker.store.client.delete(f"sl9:{situation.known}")


IDEMPOTENCY: dict[str, When] = {
    "the same call was made before": same_call,
    "the key was used for another body": other_body,
    "the job of the key was deleted": deleted,
    "the job of the key is no longer kept": outlived,
}
