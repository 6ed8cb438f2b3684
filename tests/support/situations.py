"""How things may stand when a call comes, by the words of docs/reference/behaviour.toml."""

import time
from collections.abc import Awaitable, Callable

from tests.support.behaviour_situation import MODEL, Situation, question
from tests.support.clients import until_async
from tests.support.keys import ADMIN, bearer
from tests.support.stored import forget_answers
from worker.maintenance.passes import ModelRemoval


async def _serve(situation: Situation) -> None:
    while True:
        situation.finish(await situation.taken())


async def no_worker(_: Situation) -> None:
    """As it stands."""


async def ready(situation: Situation) -> None:
    situation.worker.beat()


async def loading(situation: Situation) -> None:
    situation.worker.beat("loading")


async def cold(situation: Situation) -> None:
    situation.worker.node_beat(load_in_ms="2000")


async def broken(situation: Situation) -> None:
    situation.worker.beat("gone", failed="out of memory")


async def broken_and_loading(situation: Situation) -> None:
    await broken(situation)
    await loading(situation)


async def answers(situation: Situation) -> None:
    await ready(situation)
    situation.meanwhile(_serve)


async def becomes_ready(situation: Situation) -> None:
    await loading(situation)
    _load(situation)


async def is_asked(situation: Situation) -> None:
    await cold(situation)
    _load(situation)


def _load(situation: Situation) -> None:
    async def load(situation: Situation) -> None:
        claim = await situation.taken()
        await ready(situation)
        situation.finish(claim)

    situation.meanwhile(load)


async def full(situation: Situation) -> None:
    await _fill(situation, situation.worker.settings.queue.max_queued)


async def callers_line_full(situation: Situation) -> None:
    await _fill(situation, situation.worker.settings.queue.max_queued_caller)


async def _fill(situation: Situation, places: int) -> None:
    await ready(situation)
    for place in range(places):
        reply = await situation.client.post("/v1/jobs", json=question("/v1/jobs", str(place)))
        assert reply.status_code == 202


async def paused(situation: Situation) -> None:
    await ready(situation)
    reply = await situation.client.post(f"/v1/admin/models/{MODEL}/pause")
    assert reply.status_code == 204


async def drained(situation: Situation) -> None:
    await ready(situation)
    reply = await situation.client.post(f"/v1/admin/models/{MODEL}/drain")
    assert reply.status_code == 204


async def removed(situation: Situation) -> None:
    await ready(situation)
    reply = await situation.client.delete(f"/v1/admin/models/{MODEL}")
    assert reply.status_code == 204


async def removed_meanwhile(situation: Situation) -> None:
    await ready(situation)

    async def remove(situation: Situation) -> None:
        await situation.waiting()
        await situation.client.delete(f"/v1/admin/models/{MODEL}")
        assert ModelRemoval(situation.worker.settings, situation.worker.store).end_waiting() == 1

    situation.meanwhile(remove)


async def resumed(situation: Situation) -> None:
    await paused(situation)

    async def resume(situation: Situation) -> None:
        await situation.waiting()
        await situation.client.post(f"/v1/admin/models/{MODEL}/resume")
        await _serve(situation)

    situation.meanwhile(resume)


async def answered(situation: Situation) -> None:
    await ready(situation)
    first = situation.send_first()
    situation.finish(await situation.taken())
    await first


async def looped(situation: Situation) -> None:
    await ready(situation)
    first = situation.send_first()
    situation.worker.succeed(await situation.taken(), "A A A", reason="repetition")
    await first


async def answered_and_gone(situation: Situation) -> None:
    await answered(situation)
    situation.worker.beat("gone")


async def computing(situation: Situation) -> None:
    await ready(situation)
    first = situation.send_first()
    claim = await situation.taken()

    async def both_are_here() -> bool:
        return len((await situation.client.get("/v1/jobs")).json()["data"]) == 2

    async def compute(situation: Situation) -> None:
        await until_async(both_are_here)
        situation.finish(claim)
        await first
        await _serve(situation)

    situation.meanwhile(compute)


async def refuses(situation: Situation) -> None:
    await ready(situation)

    async def refuse(situation: Situation) -> None:
        situation.worker.fail(await situation.taken(), "invalid_image", "The picture is broken.")

    situation.meanwhile(refuse)


async def cancelled_meanwhile(situation: Situation) -> None:
    await ready(situation)

    async def cancel(situation: Situation) -> None:
        await situation.taken()
        (job,) = (await situation.client.get("/v1/jobs")).json()["data"]
        await situation.client.post(job["urls"]["cancel"])

    situation.meanwhile(cancel)


async def nothing_begins(situation: Situation) -> None:
    situation.worker.beat(service_ms="1")


async def waits(situation: Situation) -> None:
    await ready(situation)
    await situation.submit()


async def runs(situation: Situation) -> None:
    await waits(situation)
    await situation.taken()


async def ends(situation: Situation) -> None:
    await waits(situation)
    situation.meanwhile(_serve)


async def succeeded(situation: Situation) -> None:
    await waits(situation)
    situation.finish(await situation.taken())


async def told_waits(situation: Situation) -> None:
    await ready(situation)
    hook = {"url": "https://example.com/", "secret": "a secret of sixteen bytes"}
    reply = await situation.client.post("/v1/jobs", json=question("/v1/jobs") | {"webhook": hook})
    situation.known = reply.json()["id"]


async def told_succeeded(situation: Situation) -> None:
    await told_waits(situation)
    situation.finish(await situation.taken())


async def failed(situation: Situation) -> None:
    await waits(situation)
    situation.worker.fail(await situation.taken(), "invalid_image", "The picture is broken.")


async def cancelled(situation: Situation) -> None:
    await waits(situation)
    await situation.client.post(f"/v1/jobs/{situation.known}/cancel")


async def too_late(situation: Situation) -> None:
    await ready(situation)
    late = question("/v1/jobs") | {"finish_by": time.time() + 60}
    situation.known = (await situation.client.post("/v1/jobs", json=late)).json()["id"]
    situation.worker.let_pass(61)


async def gets_too_late(situation: Situation) -> None:
    await ready(situation)

    async def pass_by(situation: Situation) -> None:
        await situation.waiting()
        situation.worker.let_pass(2 * 86_400)

    situation.meanwhile(pass_by)


async def expired(situation: Situation) -> None:
    await succeeded(situation)
    forget_answers(situation.worker.store.client)


async def keys_asked_for(situation: Situation) -> None:
    await answers(situation)
    await _make_key(situation)


async def another_callers(situation: Situation) -> None:
    await ready(situation)
    await _make_key(situation)
    reply = await situation.client.post("/v1/jobs", json=question("/v1/jobs"), headers=bearer(ADMIN))
    situation.known = reply.json()["id"]


async def used_up(situation: Situation) -> None:
    await ready(situation)
    await _make_key(situation, requests_per_minute=1)
    await situation.client.delete("/v1/files/file-0", headers=bearer(situation.secrets["KEY"]))


async def _make_key(situation: Situation, **quota: int) -> None:
    body = {"name": "Example Ltd", **quota}
    key = (await situation.client.post("/v1/admin/keys", json=body, headers=bearer(ADMIN))).json()
    situation.known, situation.secrets = key["id"], {"ADMIN": ADMIN, "KEY": key["secret"]}


WHEN: dict[str, Callable[[Situation], Awaitable[None]]] = {
    "no worker lives": no_worker,
    "there is no such job": no_worker,
    "a worker is ready": ready,
    "a worker answers": answers,
    "the model is loading": loading,
    "the model becomes ready meanwhile": becomes_ready,
    "the model is cold": cold,
    "the cold model is loaded meanwhile": is_asked,
    "the model cannot be loaded": broken,
    "a load that failed is tried again": broken_and_loading,
    "the line is full": full,
    "the caller's own line is full": callers_line_full,
    "the model is paused": paused,
    "the model is drained": drained,
    "the model was removed": removed,
    "the model is removed meanwhile": removed_meanwhile,
    "the model is resumed meanwhile": resumed,
    "the same was answered before": answered,
    "the same was answered by a loop": looped,
    "the same was answered, and the worker has gone": answered_and_gone,
    "the same is being computed": computing,
    "the worker refuses the picture": refuses,
    "the job is cancelled meanwhile": cancelled_meanwhile,
    "nothing begins within the limit": nothing_begins,
    "the job waits": waits,
    "the job runs": runs,
    "the job ends meanwhile": ends,
    "the job has succeeded": succeeded,
    "the job has failed": failed,
    "the job was cancelled": cancelled,
    "its finish_by passed while it waited": too_late,
    "it may not wait in line any longer": gets_too_late,
    "the result is no longer kept": expired,
    "the job has a webhook and waits": told_waits,
    "the job has a webhook and has succeeded": told_succeeded,
    "keys are asked for": keys_asked_for,
    "the job is another caller's": another_callers,
    "the key's requests are used up": used_up,
}
