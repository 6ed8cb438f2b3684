"""An answer while it grows: one text, for every reader, over every process's death."""

from itertools import islice
from typing import Any

import pytest

from tests.e2e.conftest import SLOW, TINY
from tests.support.clients import Api, SentEvent, sent_events, told
from tests.support.service import Service

WORDS = " ".join(f"word{n}" for n in range(15))


def test_a_reader_goes_on_at_another_api_process_where_the_first_left_off(service: Service, api: Api) -> None:
    job = api.submit(model=SLOW, input={"prompt": WORDS + " resumed"})
    with api.stream("GET", f"/v1/jobs/{job}/events") as reply:
        first = list(islice(sent_events(reply.iter_lines()), 6))
    with Api(service.url("api-2")) as other:
        rest = other.events(job, after=first[-1].id)
    assert [e.id for e in first + rest] == list(range(1, len(first + rest) + 1))
    assert told(first + rest) == WORDS + " resumed"
    assert rest[-1].name == "succeeded"
    assert rest[-1].data["job"]["result"]["text"] == WORDS + " resumed"
    assert api.events(job) == first + rest, "a replay after the end differs"


def test_a_worker_killed_in_mid_stream_costs_no_reader_a_letter_or_a_logprob(
    service: Service, api: Api
) -> None:
    """Two answers drawn at random from nearly all tokens: right only if the draws go on where they stood."""
    body: dict[str, Any] = {
        "model": TINY,
        "messages": [{"role": "user", "content": "Describe a house."}],
        "temperature": 100,
        "top_k": 1000,
        "seed": 1,
        "n": 2,
        "max_tokens": 200,
        "min_tokens": 200,
        "logprobs": True,
        "top_logprobs": 2,
    }
    whole = api.post("/v1/chat/completions", json=body).json()
    texts, sure = ["", ""], [list[Any](), list[Any]()]

    def take(event: SentEvent) -> None:
        for choice in [] if event.data == "[DONE]" else event.data["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
            sure[choice["index"]] += (choice["logprobs"] or {}).get("content") or []

    again: dict[str, Any] = {"json": body | {"stream": True}, "headers": {"x-use-cache": "false"}}
    with api.stream("POST", "/v1/chat/completions", **again) as reply:
        events = sent_events(reply.iter_lines())
        while not all(texts):
            take(next(events))
        service.kill(TINY)
        before = [*texts]
        service.start(TINY)
        for event in events:
            take(event)

    told_whole = [choice["message"]["content"] for choice in whole["choices"]]
    assert texts == told_whole
    assert all(len(early) < len(text) for early, text in zip(before, texts, strict=True))
    for streamed, choice in zip(sure, whole["choices"], strict=True):
        expected = choice["logprobs"]["content"]
        assert [entry["token"] for entry in streamed] == [entry["token"] for entry in expected]
        likely = [entry["logprob"] for entry in expected]
        assert [entry["logprob"] for entry in streamed] == pytest.approx(likely, abs=1e-3)
    job = api.job(reply.headers["x-job-id"])
    assert [a["outcome"] for a in job["attempts"]] == ["worker_lost", "succeeded"]
    assert [choice["text"] for choice in job["result"]["choices"]] == told_whole
    kept = [[entry["token"] for entry in c["logprobs"]] for c in job["result"]["choices"]]
    assert kept == [[entry["token"] for entry in entries] for entries in sure]
    assert job["result"]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == 400
    steps = [event.name for event in api.events(job["id"]) if event.name != "text"]
    assert steps == ["queued", "running", "requeued", "running", "succeeded"]
