"""How things may stand when a call comes, by the words of docs/reference/behaviour.toml."""

import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tests.support.behaviour_situation import MODEL, Situation, question
from tests.support.clients import until_async
from tests.support.keys import ADMIN, bearer
from tests.support.stored import forget_answers
from worker.maintenance.passes import ModelRemoval

When = Callable[[Situation], Coroutine[Any, Any, None]]


async def _walk(steps: tuple[When, ...], situation: Situation) -> None:
    for step in steps:
        await step(situation)


def in_turn(*steps: When) -> When:
    return partial(_walk, steps)


def meanwhile(*steps: When) -> When:
    """These steps are taken while the row's call is made."""

    async def begin(situation: Situation) -> None:
        situation.meanwhile(in_turn(*steps))

    return begin


async def no_worker(_: Situation) -> None:
    """As it stands."""


async def ready(situation: Situation) -> None:
    situation.worker.beat()


async def loading(situation: Situation) -> None:
    situation.worker.beat("loading")


async def gone(situation: Situation) -> None:
    situation.worker.beat("gone")


async def cold(situation: Situation) -> None:
    situation.worker.node_beat(load_in_ms="2000")


async def broken(situation: Situation) -> None:
    situation.worker.beat("gone", failed="out of memory")


async def nothing_begins(situation: Situation) -> None:
    situation.worker.beat(service_ms="1")


async def waiting(situation: Situation) -> None:
    await situation.waiting()


async def take(situation: Situation) -> None:
    await situation.taken()


async def finish(situation: Situation) -> None:
    situation.finish(await situation.taken())


async def fail(situation: Situation) -> None:
    situation.worker.fail(await situation.taken(), "invalid_image", "The picture is broken.")


async def forget(situation: Situation) -> None:
    forget_answers(situation.worker.store.client)


async def serve(situation: Situation) -> None:
    while True:
        await finish(situation)


answers = in_turn(ready, meanwhile(serve))


async def load(situation: Situation) -> None:
    claim = await situation.taken()
    await ready(situation)
    situation.finish(claim)


async def full(situation: Situation) -> None:
    await _fill(situation, situation.worker.settings.queue.max_queued)


async def callers_line_full(situation: Situation) -> None:
    await _fill(situation, situation.worker.settings.queue.max_queued_caller)


async def _fill(situation: Situation, places: int) -> None:
    for place in range(places):
        reply = await situation.client.post("/v1/jobs", json=question("/v1/jobs", str(place)))
        assert reply.status_code == 202


async def _changed(method: str, change: str, situation: Situation) -> None:
    reply = await situation.client.request(method, f"/v1/admin/models/{MODEL}{change}")
    assert reply.status_code == 204


pause, resume = partial(_changed, "POST", "/pause"), partial(_changed, "POST", "/resume")
drain, remove = partial(_changed, "POST", "/drain"), partial(_changed, "DELETE", "")


async def end_waiting(situation: Situation) -> None:
    assert ModelRemoval(situation.worker.settings, situation.worker.store).end_waiting() == 1


async def answered(situation: Situation) -> None:
    first = situation.send_first()
    await finish(situation)
    await first


async def looped(situation: Situation) -> None:
    first = situation.send_first()
    situation.worker.succeed(await situation.taken(), "A A A", reason="repetition")
    await first


async def computing(situation: Situation) -> None:
    first = situation.send_first()
    claim = await situation.taken()

    async def both_are_here() -> bool:
        return len((await situation.client.get("/v1/jobs")).json()["data"]) == 2

    async def compute(situation: Situation) -> None:
        await until_async(both_are_here)
        situation.finish(claim)
        await first
        await serve(situation)

    situation.meanwhile(compute)


async def cancel_taken(situation: Situation) -> None:
    await situation.taken()
    (job,) = (await situation.client.get("/v1/jobs")).json()["data"]
    await situation.client.post(job["urls"]["cancel"])


async def _submit(situation: Situation) -> None:
    await situation.submit()


waits = in_turn(ready, _submit)


async def told(situation: Situation) -> None:
    hook = {"url": "https://example.com/", "secret": "a secret of sixteen bytes"}
    reply = await situation.client.post("/v1/jobs", json=question("/v1/jobs") | {"webhook": hook})
    situation.known = reply.json()["id"]


async def cancel(situation: Situation) -> None:
    await situation.client.post(f"/v1/jobs/{situation.known}/cancel")


async def too_late(situation: Situation) -> None:
    late = question("/v1/jobs") | {"finish_by": time.time() + 60}
    situation.known = (await situation.client.post("/v1/jobs", json=late)).json()["id"]
    situation.worker.let_pass(61)


async def pass_by(situation: Situation) -> None:
    situation.worker.let_pass(2 * 86_400)


async def another_callers(situation: Situation) -> None:
    await make_key(situation)
    reply = await situation.client.post("/v1/jobs", json=question("/v1/jobs"), headers=bearer(ADMIN))
    situation.known = reply.json()["id"]


async def used_up(situation: Situation) -> None:
    await make_key(situation, requests_per_minute=1)
    await situation.client.delete("/v1/files/file-0", headers=bearer(situation.secrets["KEY"]))


async def make_key(situation: Situation, **quota: int) -> None:
    body = {"name": "Example Ltd", **quota}
    key = (await situation.client.post("/v1/admin/keys", json=body, headers=bearer(ADMIN))).json()
    situation.known, situation.secrets = key["id"], {"ADMIN": ADMIN, "KEY": key["secret"]}


keys_asked_for = in_turn(answers, make_key)

WHEN: dict[str, When] = {
    "no worker lives": no_worker,
    "there is no such job": no_worker,
    "a worker is ready": ready,
    "a worker answers": answers,
    "the model is loading": loading,
    "the model becomes ready meanwhile": in_turn(loading, meanwhile(load)),
    "the model is cold": cold,
    "the cold model is loaded meanwhile": in_turn(cold, meanwhile(load)),
    "the model cannot be loaded": broken,
    "a load that failed is tried again": in_turn(broken, loading),
    "the line is full": in_turn(ready, full),
    "the caller's own line is full": in_turn(ready, callers_line_full),
    "the model is paused": in_turn(ready, pause),
    "the model is drained": in_turn(ready, drain),
    "the model was removed": in_turn(ready, remove),
    "the model is removed meanwhile": in_turn(ready, meanwhile(waiting, remove, end_waiting)),
    "the model is resumed meanwhile": in_turn(ready, pause, meanwhile(waiting, resume, serve)),
    "the same was answered before": in_turn(ready, answered),
    "the same was answered by a loop": in_turn(ready, looped),
    "the same was answered, and the worker has gone": in_turn(ready, answered, gone),
    "the same is being computed": in_turn(ready, computing),
    "the worker refuses the picture": in_turn(ready, meanwhile(fail)),
    "the job is cancelled meanwhile": in_turn(ready, meanwhile(cancel_taken)),
    "nothing begins within the limit": nothing_begins,
    "the job waits": waits,
    "the job runs": in_turn(waits, take),
    "the job ends meanwhile": in_turn(waits, meanwhile(serve)),
    "the job has succeeded": in_turn(waits, finish),
    "the job has failed": in_turn(waits, fail),
    "the job was cancelled": in_turn(waits, cancel),
    "its finish_by passed while it waited": in_turn(ready, too_late),
    "it may not wait in line any longer": in_turn(ready, meanwhile(waiting, pass_by)),
    "the result is no longer kept": in_turn(waits, finish, forget),
    "the job has a webhook and waits": in_turn(ready, told),
    "the job has a webhook and has succeeded": in_turn(ready, told, finish),
    "keys are asked for": keys_asked_for,
    "the job is another caller's": in_turn(ready, another_callers),
    "the key's requests are used up": in_turn(ready, used_up),
}
