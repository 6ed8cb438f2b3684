"""An answer while it grows: one text, for every reader, over every process's death."""

from itertools import islice
from typing import Any

from tests.e2e.conftest import SLOW, TINY
from tests.support.clients import Api, SentEvent, sent_events, told
from tests.support.service import Service

WORDS = " ".join(f"word{n}" for n in range(50))


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


def test_a_worker_killed_in_mid_stream_costs_its_reader_nothing(service: Service, api: Api) -> None:
    job = api.submit(model=SLOW, input={"prompt": WORDS + " killed"})
    with api.stream("GET", f"/v1/jobs/{job}/events") as reply:
        events = sent_events(reply.iter_lines())
        first = list(islice(events, 5))
        service.kill(SLOW)
        service.start(SLOW)
        rest = list(events)
    assert told(first + rest) == WORDS + " killed"
    assert [e.name for e in first + rest if e.name != "text"] == [
        "queued",
        "running",
        "requeued",
        "running",
        "succeeded",
    ]
    outcomes = [a["outcome"] for a in api.job(job)["attempts"]]
    assert outcomes == ["worker_lost", "succeeded"]


def test_a_chat_reader_of_a_killed_model_worker_reads_the_uninterrupted_answer(
    service: Service, api: Api
) -> None:
    """Drawn at random from nearly all tokens: long, and right only if the draws go on where they stood."""
    body = {
        "model": TINY,
        "messages": [{"role": "user", "content": "Describe a house."}],
        "temperature": 100,
        "top_k": 1000,
        "seed": 1,
        "max_tokens": 400,
    }
    whole = api.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    again: dict[str, Any] = {"json": body | {"stream": True}, "headers": {"x-use-cache": "false"}}
    with api.stream("POST", "/v1/chat/completions", **again) as reply:
        events = sent_events(reply.iter_lines())
        text = content(next(e for e in events if content(e)))
        service.kill(TINY)
        service.start(TINY)
        text += "".join(content(e) for e in events)
    assert text == whole
    attempts = api.job(reply.headers["x-job-id"])["attempts"]
    assert [a["outcome"] for a in attempts] == ["worker_lost", "succeeded"]


def content(event: SentEvent) -> str:
    return "" if event.data == "[DONE]" else event.data["choices"][0]["delta"]["content"]
