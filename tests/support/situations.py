"""How things may stand when a call comes, by the words of docs/reference/behaviour.md."""

import time
from collections.abc import Awaitable, Callable

from tests.support.behaviour_stage import MODEL, Scene, question
from tests.support.clients import until_async
from tests.support.keys import ADMIN, bearer
from worker.maintenance.passes import ModelRemoval


async def _serve(scene: Scene) -> None:
    while True:
        scene.finish(await scene.taken())


async def no_worker(_: Scene) -> None:
    """As it stands."""


async def ready(scene: Scene) -> None:
    scene.hand.beat()


async def loading(scene: Scene) -> None:
    scene.hand.beat("loading")


async def broken(scene: Scene) -> None:
    scene.hand.beat("gone", failed="out of memory")


async def broken_and_loading(scene: Scene) -> None:
    await broken(scene)
    await loading(scene)


async def answers(scene: Scene) -> None:
    await ready(scene)
    scene.meanwhile(_serve)


async def becomes_ready(scene: Scene) -> None:
    await loading(scene)

    async def load(scene: Scene) -> None:
        claim = await scene.taken()
        await ready(scene)
        scene.finish(claim)

    scene.meanwhile(load)


async def full(scene: Scene) -> None:
    await ready(scene)
    for place in range(scene.hand.settings.queue.max_queued):
        reply = await scene.client.post("/v1/jobs", json=question("/v1/jobs", str(place)))
        assert reply.status_code == 202


async def callers_line_full(scene: Scene) -> None:
    await ready(scene)
    for place in range(scene.hand.settings.queue.max_queued_caller):
        reply = await scene.client.post("/v1/jobs", json=question("/v1/jobs", str(place)))
        assert reply.status_code == 202


async def paused(scene: Scene) -> None:
    await ready(scene)
    reply = await scene.client.post(f"/v1/admin/models/{MODEL}/pause")
    assert reply.status_code == 204


async def drained(scene: Scene) -> None:
    await ready(scene)
    reply = await scene.client.post(f"/v1/admin/models/{MODEL}/drain")
    assert reply.status_code == 204


async def removed(scene: Scene) -> None:
    await ready(scene)
    reply = await scene.client.delete(f"/v1/admin/models/{MODEL}")
    assert reply.status_code == 204


async def removed_meanwhile(scene: Scene) -> None:
    await ready(scene)

    async def remove(scene: Scene) -> None:
        await scene.waiting()
        await scene.client.delete(f"/v1/admin/models/{MODEL}")
        assert ModelRemoval(scene.hand.settings, scene.hand.store).end_waiting() == 1

    scene.meanwhile(remove)


async def resumed(scene: Scene) -> None:
    await paused(scene)

    async def resume(scene: Scene) -> None:
        await scene.waiting()
        await scene.client.post(f"/v1/admin/models/{MODEL}/resume")
        await _serve(scene)

    scene.meanwhile(resume)


async def answered(scene: Scene) -> None:
    await ready(scene)
    first = scene.send_first()
    scene.finish(await scene.taken())
    await first


async def answered_and_gone(scene: Scene) -> None:
    await answered(scene)
    scene.hand.beat("gone")


async def computing(scene: Scene) -> None:
    await ready(scene)
    first = scene.send_first()
    claim = await scene.taken()

    async def both_are_here() -> bool:
        return len((await scene.client.get("/v1/jobs")).json()["data"]) == 2

    async def compute(scene: Scene) -> None:
        await until_async(both_are_here)
        scene.finish(claim)
        await first
        await _serve(scene)

    scene.meanwhile(compute)


async def refuses(scene: Scene) -> None:
    await ready(scene)

    async def refuse(scene: Scene) -> None:
        scene.hand.fail(await scene.taken(), "invalid_image", "The picture is broken.")

    scene.meanwhile(refuse)


async def cancelled_meanwhile(scene: Scene) -> None:
    await ready(scene)

    async def cancel(scene: Scene) -> None:
        await scene.taken()
        (job,) = (await scene.client.get("/v1/jobs")).json()["data"]
        await scene.client.post(job["urls"]["cancel"])

    scene.meanwhile(cancel)


async def nothing_begins(scene: Scene) -> None:
    scene.hand.beat(service_ms="1")


async def waits(scene: Scene) -> None:
    await ready(scene)
    await scene.submit()


async def runs(scene: Scene) -> None:
    await waits(scene)
    await scene.taken()


async def ends(scene: Scene) -> None:
    await waits(scene)
    scene.meanwhile(_serve)


async def succeeded(scene: Scene) -> None:
    await waits(scene)
    scene.finish(await scene.taken())


async def told_waits(scene: Scene) -> None:
    await ready(scene)
    hook = {"url": "https://example.com/", "secret": "a secret of sixteen bytes"}
    reply = await scene.client.post("/v1/jobs", json=question("/v1/jobs") | {"webhook": hook})
    scene.known = reply.json()["id"]


async def told_succeeded(scene: Scene) -> None:
    await told_waits(scene)
    scene.finish(await scene.taken())


async def failed(scene: Scene) -> None:
    await waits(scene)
    scene.hand.fail(await scene.taken(), "invalid_image", "The picture is broken.")


async def cancelled(scene: Scene) -> None:
    await waits(scene)
    await scene.client.post(f"/v1/jobs/{scene.known}/cancel")


async def too_late(scene: Scene) -> None:
    await ready(scene)
    late = question("/v1/jobs") | {"start_by": time.time() + 60}
    scene.known = (await scene.client.post("/v1/jobs", json=late)).json()["id"]
    scene.hand.let_pass(61)


async def gets_too_late(scene: Scene) -> None:
    await ready(scene)

    async def pass_by(scene: Scene) -> None:
        await scene.waiting()
        scene.hand.let_pass(2 * 86_400)

    scene.meanwhile(pass_by)


async def expired(scene: Scene) -> None:
    await succeeded(scene)
    # As at the end of `retention.result_s`.
    scene.hand.store.client.delete(*scene.hand.store.client.keys("sl5:run_*"))


async def keys_asked_for(scene: Scene) -> None:
    await answers(scene)
    await _make_key(scene)


async def another_callers(scene: Scene) -> None:
    await ready(scene)
    await _make_key(scene)
    reply = await scene.client.post("/v1/jobs", json=question("/v1/jobs"), headers=bearer(ADMIN))
    scene.known = reply.json()["id"]


async def used_up(scene: Scene) -> None:
    await ready(scene)
    await _make_key(scene, requests_per_minute=1)
    await scene.client.get("/v1/models", headers=bearer(scene.secrets["KEY"]))


async def _make_key(scene: Scene, **quota: int) -> None:
    body = {"name": "Example Ltd", **quota}
    key = (await scene.client.post("/v1/admin/keys", json=body, headers=bearer(ADMIN))).json()
    scene.known, scene.secrets = key["id"], {"ADMIN": ADMIN, "KEY": key["secret"]}


WHEN: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "no worker lives": no_worker,
    "there is no such job": no_worker,
    "a worker is ready": ready,
    "a worker answers": answers,
    "the model is loading": loading,
    "the model becomes ready meanwhile": becomes_ready,
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
    "the same was answered, and the worker has gone": answered_and_gone,
    "the same is being computed": computing,
    "the worker refuses the picture": refuses,
    "the job is cancelled meanwhile": cancelled_meanwhile,
    "nothing begins within the limit": nothing_begins,
    "the answer would come after the limit": ready,
    "the job waits": waits,
    "the job runs": runs,
    "the job ends meanwhile": ends,
    "the job has succeeded": succeeded,
    "the job has failed": failed,
    "the job was cancelled": cancelled,
    "its start_by passed while it waited": too_late,
    "it may not wait in line any longer": gets_too_late,
    "the result is no longer kept": expired,
    "the job has a webhook and waits": told_waits,
    "the job has a webhook and has succeeded": told_succeeded,
    "keys are asked for": keys_asked_for,
    "the job is another caller's": another_callers,
    "the key's requests are used up": used_up,
}
