"""Clients give up after some seconds, and ask again: the same call goes on with the run of the one before."""

from typing import Any

import pytest

from shared.store.claims import Claim
from tests.routes.conftest import Deployment
from tests.support.asgi_exchange import Exchange, data, posted
from tests.support.clients import until_async

MODEL = "sightline/tiny"
CHAT = "/v1/chat/completions"
REMOTE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
CALLS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "chat": (CHAT, {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}, {}),
    "sampled": (
        f"/models/{MODEL}{CHAT}",
        {"messages": [{"role": "user", "content": "Hi"}], "temperature": 1},
        {},
    ),
    "response": ("/v1/responses", {"model": MODEL, "input": "Hi", "metadata": {"page": "1"}}, {}),
    "unstored": ("/v1/responses", {"model": MODEL, "input": "Hi", "store": False}, {}),
    "raw": (f"/models/{MODEL}", {"inputs": "Hi"}, {"x_use_cache": "false"}),
}
pytestmark = pytest.mark.parametrize(
    "deployment",
    [{"api": {"leave_grace_s": 3600}, "queue": {"max_queued": 100}}],
    indirect=True,
    ids=["patient"],
)


def open_jobs(deployment: Deployment) -> set[str]:
    return set(deployment.worker.store.client.zrange("sl9:deadlines", 0, -1))


def abandoned(deployment: Deployment) -> int:
    """Jobs that nobody waits for, as the store knows."""
    client = deployment.worker.store.client
    return sum(client.zcard(key) for key in client.keys("sl9:abandoned:*"))


async def asked(
    deployment: Deployment, path: str, body: dict[str, Any], headers: dict[str, str], *, jobs: int = 1
) -> Exchange:
    """A call, once the store has so many jobs, of which somebody waits for each."""
    call = posted(deployment.app, body, path, **headers)

    async def waits() -> bool:
        return len(open_jobs(deployment)) == jobs and not abandoned(deployment)

    await until_async(waits)
    return call


async def hung_up(deployment: Deployment, call: Exchange) -> None:
    call.hang_up()
    await call.finish()

    async def known() -> bool:
        return abandoned(deployment) == 1

    await until_async(known)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("path", "body", "headers"), CALLS.values(), ids=CALLS)
async def test_a_client_that_gives_up_and_asks_again_goes_on_with_the_same_jobs(
    deployment: Deployment, path: str, body: dict[str, Any], headers: dict[str, str], *, stream: bool
) -> None:
    body = body | {"stream": stream}
    deployment.worker.beat()
    call = await asked(deployment, path, body, headers)
    first = open_jobs(deployment)
    for _ in range(2):
        await hung_up(deployment, call)
        call = await asked(deployment, path, body, headers)
    assert open_jobs(deployment) == first

    claim = deployment.worker.take()
    deployment.worker.say(claim, "A square.")
    deployment.worker.succeed(claim, "A square.")
    await call.finish()
    assert (call.status, b"A square." in call.body) == (200, True)


CHOICES: Any = (CHAT, CALLS["chat"][1] | {"n": 2, "temperature": 1}, {})


async def begun(deployment: Deployment, call: Exchange) -> Claim:
    """The run of a stream whose reader has got text."""
    claim = await deployment.worker.taken()
    deployment.worker.say(claim, "A square")
    await call.until(lambda e: b"A square" in e.body)
    return claim


@pytest.mark.parametrize(
    ("path", "body", "headers"), [*CALLS.values(), CHOICES], ids=[*CALLS, "several choices"]
)
async def test_stop_in_a_chat_frees_its_slot_at_once(
    deployment: Deployment, path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, body | {"stream": True}, path, **headers)
    await begun(deployment, call)
    call.hang_up()
    await call.finish()

    async def ended() -> bool:
        return not open_jobs(deployment)

    await until_async(ended)


async def test_stop_ends_no_answer_that_another_call_reads(deployment: Deployment) -> None:
    deployment.worker.beat()
    path, body, _ = CALLS["chat"]
    first = await asked(deployment, path, body | {"stream": True}, {})
    second = await asked(deployment, path, body | {"stream": True}, {}, jobs=2)
    claim = await begun(deployment, first)
    await second.until(lambda e: b"A square" in e.body)
    first.hang_up()
    await first.finish()

    async def one_left() -> bool:
        return len(open_jobs(deployment)) == 1

    await until_async(one_left)
    deployment.worker.succeed(claim, "A square.")
    await second.finish()
    assert data(second.body)[-1] == "[DONE]"


async def test_stop_keeps_an_answer_that_is_to_be_fetched(deployment: Deployment) -> None:
    deployment.worker.beat()
    path, body, _ = CALLS["chat"]
    call = posted(deployment.app, body | {"stream": True}, path, idempotency_key="k-1")
    claim = await begun(deployment, call)
    call.hang_up()
    await call.finish()
    deployment.worker.succeed(claim, "A square.")
    again = posted(deployment.app, body | {"stream": True}, path, idempotency_key="k-1")
    await again.finish()
    assert data(again.body)[-1] == "[DONE]"


async def test_a_picture_is_not_fetched_again_for_a_client_that_asks_again(deployment: Deployment) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": [REMOTE]}]}
    deployment.worker.beat()
    call = await asked(deployment, CHAT, body, {})
    await hung_up(deployment, call)
    await asked(deployment, CHAT, body, {})


async def test_a_second_call_alike_gets_an_answer_of_its_own_meanwhile(deployment: Deployment) -> None:
    deployment.worker.beat()
    for times in (1, 2):
        await asked(deployment, *CALLS["chat"], jobs=times)
