"""A streamed answer is one text, though the worker that makes it dies."""

from typing import Any

import pytest

from tests.e2e.conftest import TINY
from tests.support.clients import Api, SentEvent, sent_events
from tests.support.service import Service


class Streamed:
    """The texts and logprobs of two choices, as far as a stream has brought them."""

    def __init__(self) -> None:
        self.texts, self.logprobs = ["", ""], [list[Any](), list[Any]()]

    def add(self, event: SentEvent) -> None:
        for choice in [] if event.data == "[DONE]" else event.data["choices"]:
            self.texts[choice["index"]] += choice["delta"].get("content") or ""
            self.logprobs[choice["index"]] += (choice["logprobs"] or {}).get("content") or []


def tokens(entries: list[Any]) -> list[str]:
    return [entry["token"] for entry in entries]


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
    streamed, again = Streamed(), {"x-use-cache": "false"}
    with api.stream("POST", "/v1/chat/completions", json=body | {"stream": True}, headers=again) as reply:
        events = sent_events(reply.iter_lines())
        while not all(streamed.texts):
            streamed.add(next(events))
        service.kill(TINY)
        before = [*streamed.texts]
        service.start(TINY)
        for event in events:
            streamed.add(event)

    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert streamed.texts == texts
    assert all(len(early) < len(text) for early, text in zip(before, texts, strict=True))
    for entries, choice in zip(streamed.logprobs, whole["choices"], strict=True):
        expected = choice["logprobs"]["content"]
        assert tokens(entries) == tokens(expected)
        likely = [entry["logprob"] for entry in expected]
        assert [entry["logprob"] for entry in entries] == pytest.approx(likely, abs=1e-3)
    job = api.job(reply.headers["x-job-id"])
    assert [a["outcome"] for a in job["attempts"]] == ["worker_lost", "succeeded"]
    assert [choice["text"] for choice in job["result"]["choices"]] == texts
    assert [tokens(c["logprobs"]) for c in job["result"]["choices"]] == [*map(tokens, streamed.logprobs)]
    assert job["result"]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == 400
    steps = [event.name for event in api.events(job["id"]) if event.name != "text"]
    assert steps == ["queued", "running", "requeued", "running", "succeeded"]
