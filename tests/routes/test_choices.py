"""Several answers through the doors: each under its own index, whole and in pieces as they come."""

from typing import Any

from shared.result import Choice, Piece, Result, Usage
from shared.store import claims
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data
from tests.support.scripted_worker import FINGERPRINT

TINY = "sightline/tiny"
CHAT = {
    "model": TINY,
    "messages": [{"role": "user", "content": "What is this?"}],
    "temperature": 1,
    "seed": 1,
}
JOB: dict[str, Any] = {
    "model": TINY,
    "input": {"prompt": "What is this?"},
    "parameters": {"temperature": 1, "seed": 1},
}
SEVERAL: dict[str, Any] = JOB | {"parameters": {"temperature": 1, "seed": 1, "n": 2}}
HF = {"inputs": "What is this?", "parameters": {"temperature": 1, "seed": 1, "num_return_sequences": 2}}


def answer(deployment: Deployment) -> None:
    """As a worker that says two answers, by turns."""
    claim = deployment.worker.take()
    for choice, start, text in ((1, 0, "A blue "), (0, 0, "A red "), (0, 6, "disc"), (1, 7, "one")):
        deployment.worker.store.run(
            claims.append(claim, Piece(start, text, (7,), choice=choice, prompt_tokens=9))
        )
    result = Result(
        choices=(
            Choice(text="A red disc", finish_reason="stop"),
            Choice(text="A blue one", finish_reason="length"),
        ),
        usage=Usage(prompt_tokens=9, completion_tokens=6),
        fingerprint=FINGERPRINT,
        compute_s=0.25,
    )
    deployment.worker.store.run(
        claims.settle(deployment.worker.settings, claim, result, fingerprint=FINGERPRINT)
    )


async def answered(deployment: Deployment, path: str, body: dict[str, Any]) -> Any:
    """What a door says of the job that was answered so."""
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        first = await client.post("/v1/jobs", json=SEVERAL)
        answer(deployment)
        reply = await client.post(path, json=body)
    assert (first.headers["x-cache"], reply.headers["x-cache"]) == ("MISS", "HIT")
    return data(reply.content) if body.get("stream") else reply.json()


async def test_a_chat_gives_every_answer_under_its_index(deployment: Deployment) -> None:
    whole = await answered(deployment, "/v1/chat/completions", CHAT | {"n": 2})
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in whole["choices"]] == [
        (0, "A red disc", "stop"),
        (1, "A blue one", "length"),
    ]
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (9, 6)


async def test_a_chats_stream_begins_and_ends_every_answer_and_counts_once(deployment: Deployment) -> None:
    body = CHAT | {"n": 2, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, done = await answered(deployment, "/v1/chat/completions", body)
    told = [(c["index"], c["delta"], c["finish_reason"]) for chunk in chunks for c in chunk["choices"]]
    assert told == [
        (0, {"role": "assistant", "content": ""}, None),
        (1, {"role": "assistant", "content": ""}, None),
        (1, {"content": "A blue "}, None),
        (0, {"content": "A red "}, None),
        (0, {"content": "disc"}, None),
        (1, {"content": "one"}, None),
        (0, {"content": ""}, "stop"),
        (1, {"content": ""}, "length"),
    ]
    assert (usage["choices"], usage["usage"]["completion_tokens"], done) == ([], 6, "[DONE]")


async def test_hugging_faces_route_gives_a_list_of_as_many(deployment: Deployment) -> None:
    told = await answered(deployment, f"/models/{TINY}", HF)
    assert told == [{"generated_text": "A red disc"}, {"generated_text": "A blue one"}]


async def test_a_jobs_events_and_result_keep_its_answers_apart(deployment: Deployment) -> None:
    job = await answered(deployment, "/v1/jobs", SEVERAL)
    async with client_of(deployment.app) as client:
        events = data((await client.get(job["urls"]["events"])).content)
    told = [(e["choice"], e["start"], e["text"]) for e in events if "text" in e]
    assert told == [(1, 0, "A blue "), (0, 0, "A red "), (0, 6, "disc"), (1, 7, "one")]
    result = events[-1]["job"]["result"]
    assert [result["text"], *(c["text"] for c in result["choices"])] == ["A red disc"] * 2 + ["A blue one"]


async def test_who_asks_for_another_count_is_not_given_these(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        await client.post("/v1/jobs", json=SEVERAL)
        answer(deployment)
        asked = [SEVERAL["parameters"] | {"n": n} for n in (1, 3, 2)]
        replies = [await client.post("/v1/jobs", json=JOB | {"parameters": said}) for said in asked]
    assert [reply.headers["x-cache"] for reply in replies] == ["MISS", "MISS", "HIT"]
