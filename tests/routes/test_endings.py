"""Answers that loop, and answers that begin with thoughts, at every door."""

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.result import Choice, Result, Usage
from shared.store import claims
from shared.webhooks import Notice, body_of
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data
from tests.support.clients import sent_events
from tests.support.scripted_worker import FINGERPRINT
from tests.support.views import QUEUED

TINY = "sightline/tiny"
LOOP = {"max_pattern_size": 8, "min_count": 3}
WROTE = ("<thi", "nk>\nA dis", "c.\n</thi", "nk>\n\nRed", ".")
SYNTAX = "hermes <think> </think>"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": TINY, "messages": [{"role": "user", "content": "What?"}]},
    "/v1/responses": {"model": TINY, "input": "What?"},
    "/v1/jobs": {"model": TINY, "input": {"prompt": "What?"}},
    "/models/sightline/tiny": {"inputs": "What?"},
}


def wishes(path: str, **wanted: Any) -> dict[str, Any]:
    """The body of a call with these parameters, where the door takes them."""
    inside = path in ("/v1/jobs", "/models/sightline/tiny")
    return BODIES[path] | ({"parameters": wanted} if inside else wanted)


def wrote(reason: Any = "stop") -> Result:
    return Result(
        choices=(Choice(text="".join(WROTE), finish_reason=reason, score=0.5),),
        usage=Usage(prompt_tokens=9, completion_tokens=7, reasoning_tokens=5),
        fingerprint=FINGERPRINT,
        compute_s=0.25,
        syntax=SYNTAX,
    )


def settle(deployment: Deployment, reason: Any = "stop", syntax: str = SYNTAX) -> None:
    claim = deployment.worker.take()
    for number, text in enumerate(WROTE):
        start = len("".join(WROTE[:number]))
        assert deployment.worker.say(claim, text, start, syntax=syntax) == "ok"
    result = wrote(reason).model_copy(update={"syntax": syntax})
    settling = claims.settle(deployment.worker.settings, claim, result, fingerprint=FINGERPRINT)
    assert deployment.worker.store.run(settling) == "settled"


@pytest.mark.parametrize("path", BODIES)
async def test_an_answer_that_looped_says_so_and_is_computed_anew(path: str, deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        wrong = await client.post(path, json=wishes(path, repetition_detection={"max_pattern_size": 8}))
        off = await client.post("/v1/jobs", json=wishes("/v1/jobs", repetition_detection={}))
        plain = await client.post("/v1/jobs", json=BODIES["/v1/jobs"])
        settle(deployment)
        job = await client.post("/v1/jobs", json=wishes("/v1/jobs", repetition_detection=LOOP))
        settle(deployment, "repetition")
        ended = (await client.get(job.headers["location"])).json()
        again = await client.post("/v1/jobs", json=wishes("/v1/jobs", repetition_detection=LOOP))
        assert (wrong.status_code, "repetition_detection" in wrong.text) == (400, True)
        caches = [r.headers["x-cache"] for r in (off, plain, job, again)]
        assert caches == ["MISS", "COALESCED", "MISS", "MISS"]
        assert ended["result"]["choices"][0]["finish_reason"] == "repetition"
        settle(deployment)
        reply = await client.post(path, json=wishes(path, repetition_detection=LOOP))
        assert (reply.status_code, reply.headers["x-cache"]) == (202 if "jobs" in path else 200, "HIT")


async def test_a_looped_response_is_incomplete_for_its_own_reason(deployment: Deployment) -> None:
    deployment.worker.beat()
    body = BODIES["/v1/responses"] | {"background": True, "repetition_detection": LOOP}
    async with client_of(deployment.app) as client:
        made = (await client.post("/v1/responses", json=body)).json()
        settle(deployment, "repetition")
        ended = (await client.get(f"/v1/responses/{made['id']}")).json()
    assert (ended["status"], ended["incomplete_details"]) == ("incomplete", {"reason": "repetition"})


async def ask(deployment: Deployment, path: str, **wanted: Any) -> Any:
    """What a door says of the answer with thoughts."""
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        stream = wanted.pop("stream", None)
        job = await client.post("/v1/jobs", json=wishes("/v1/jobs", **wanted))
        if job.headers["x-cache"] == "MISS":
            settle(deployment, syntax=SYNTAX if wanted.get("include_reasoning", True) else f"{SYNTAX} untold")
        reply = await client.post(path, json=wishes(path, **wanted) | ({"stream": True} if stream else {}))
    assert reply.headers["x-cache"] == "HIT"
    return data(reply.content) if stream else reply.json()


async def test_thoughts_stand_beside_the_answer_at_every_door(deployment: Deployment) -> None:
    chat = await ask(deployment, "/v1/chat/completions")
    message = chat["choices"][0]["message"]
    assert (message["content"], message["reasoning"]) == ("Red.", "A disc.")
    assert message["reasoning_content"] == "A disc."
    assert chat["usage"]["completion_tokens_details"] == {"reasoning_tokens": 5}
    job = await ask(deployment, "/v1/jobs")
    told = job["result"]
    assert (told["text"], told["reasoning"], told["usage"]["reasoning_tokens"]) == ("Red.", "A disc.", 5)
    assert (told["choices"][0]["text"], told["choices"][0]["reasoning"]) == ("Red.", "A disc.")
    assert await ask(deployment, "/models/sightline/tiny") == [{"generated_text": "Red."}]
    response = await ask(deployment, "/v1/responses")
    thought, answer = response["output"]
    assert thought["type"] == "reasoning"
    assert thought["content"] == [{"type": "reasoning_text", "text": "A disc."}]
    assert answer["content"][0]["text"] == "Red."
    assert answer["id"] == f"msg_{response['id'].removeprefix('resp_')}"
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 5}


async def test_thoughts_are_streamed_apart_as_they_come(deployment: Deployment) -> None:
    *chunks, _ = await ask(deployment, "/v1/chat/completions", stream=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta.get("reasoning_content") for delta in deltas if "reasoning" in delta] == ["A dis", "c."]
    assert "".join(delta["content"] for delta in deltas) == "Red."
    events = await ask(deployment, "/v1/responses", stream=True)
    kinds = [event["type"].removeprefix("response.") for event in events[2:]]
    assert kinds == [
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]


@pytest.mark.parametrize("told", [True, False])
async def test_a_jobs_events_tell_thoughts_apart_from_any_place(told: bool, deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        made = await client.post("/v1/jobs", json=wishes("/v1/jobs", include_reasoning=told))
        settle(deployment, syntax=SYNTAX if told else f"{SYNTAX} untold")
        url = f"{made.headers['location']}/events"
        whole = [
            event for event in sent_events((await client.get(url)).text.split("\n")) if event.name == "text"
        ]
        for at in range(1, len(whole)):
            rest = (await client.get(url, params={"after": whole[at - 1].id})).text.split("\n")
            assert [event for event in sent_events(rest) if event.name == "text"] == whole[at:]
        (listed,) = (await client.get("/v1/jobs", params={"results": "false"})).json()["data"]
    pieces = [event.data for event in whole]
    assert "".join(piece.get("reasoning", "") for piece in pieces) == ("A disc." if told else "")
    assert [(piece["start"], piece["text"]) for piece in pieces if piece["text"]] == [(0, "Red"), (3, ".")]
    assert listed["answer"] == "Red."


async def test_hugging_faces_answers_have_no_thoughts(deployment: Deployment) -> None:
    *tokens, last = await ask(deployment, "/models/sightline/tiny", stream=True)
    assert ("".join(t["token"]["text"] for t in tokens), last["generated_text"]) == ("Red.", "Red.")


def test_a_webhook_has_thoughts_apart_too() -> None:
    job = replace(QUEUED, status="succeeded", result=wrote())
    told = json.loads(body_of(Notice("evt_1", "job.succeeded", 0, job.id, job=job)))["data"]["result"]
    assert (told["text"], told["reasoning"]) == ("Red.", "A disc.")
    assert (told["choices"][0]["text"], told["choices"][0]["reasoning"]) == ("Red.", "A disc.")
